"""What the import and cold start of `predict` are compared with."""
