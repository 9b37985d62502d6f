"""A function that never comes up."""

raise RuntimeError("a setting is missing")
