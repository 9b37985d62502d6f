"""Requests accepted for later: who prefers that, what is kept of them, and how they are run."""
