"""Rollouts of real versions, on a platform of their own."""
