"""What makes packages and their documentation; no part of the program."""
