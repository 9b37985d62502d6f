"""The registry of model versions: what a version promises, whether it may be used, and what was measured of it."""
