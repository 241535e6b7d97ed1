"""What makes packages, documentation and pictures; no part of the program."""
