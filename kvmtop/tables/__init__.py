"""Rows and columns, without a toolkit."""
