"""A run in a file, and as a source again."""
