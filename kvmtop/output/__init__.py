"""What is written: tables, JSON, CSV, metrics, the summary."""
