"""The dashboard, over a live host, a recording or two of them."""
