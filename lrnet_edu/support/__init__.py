"""What every room may use: errors, files, run folders, devices, components of voxels."""
