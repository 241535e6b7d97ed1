"""Counters, intervals and their history."""
