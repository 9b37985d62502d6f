"""Files: what callers upload for batches, and what batches leave for them."""
