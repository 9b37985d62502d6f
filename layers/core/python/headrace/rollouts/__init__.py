"""Progressive delivery: versions side by side, decided by statistics."""
