"""The function that merges, counts and reports a batch."""
