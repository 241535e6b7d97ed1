"""From the kernel's tracepoints to Snapshots."""
