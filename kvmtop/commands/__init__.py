"""One file for each command: its parser, and what it makes of its options; files of their own for what they share."""
