"""Answers given again: their keys, how long they hold, and who computes the one that is missing."""
