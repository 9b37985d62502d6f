"""Tests of `headrace.batches.planning`."""
