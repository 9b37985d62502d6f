"""Progressive delivery."""
