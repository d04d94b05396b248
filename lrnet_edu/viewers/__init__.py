"""What interacts: viewers of slices and maps, and the mask painter."""
