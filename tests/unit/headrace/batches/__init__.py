"""Batches, on virtual time and with stores in memory."""
