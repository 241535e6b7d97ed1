"""What the figures mean: by VM and vCPU, by access, what stands out, what has changed."""
