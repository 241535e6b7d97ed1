"""This host as a source, and what it offers."""
