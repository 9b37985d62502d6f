"""Batches: a file of records becomes a file of results, each record once, while callers who wait feel nothing."""
