"""Folders in, folders out: what the command line does with files."""
