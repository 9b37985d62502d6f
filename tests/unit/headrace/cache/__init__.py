"""Answers given again: keys, entries, and who computes."""
