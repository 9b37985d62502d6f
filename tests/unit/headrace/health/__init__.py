"""The health of targets, as one process and as a fleet."""
