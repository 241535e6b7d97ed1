"""Names for what an exit is and what it touched. Unknown is "": a wrong name is worse than none."""
