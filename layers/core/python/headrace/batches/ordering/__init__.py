"""Batches as callers meet them: ordered, looked at, listed, cancelled, redriven."""
