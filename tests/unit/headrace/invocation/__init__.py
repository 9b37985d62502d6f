"""The policy on virtual time."""
