"""Which versions may answer a request, and which one does."""
