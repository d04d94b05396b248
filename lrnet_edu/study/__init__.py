"""Tables and the study: rows, trainings, statistics; the demo and its report."""
