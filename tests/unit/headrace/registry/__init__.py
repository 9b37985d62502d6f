"""The registry's decisions."""
