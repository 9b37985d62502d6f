"""Which versions may answer, and which one does."""
