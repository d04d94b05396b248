"""Tables and the study: rows, runs, statistics, lesions; the demo and its report."""
