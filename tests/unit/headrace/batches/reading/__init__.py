"""Tests of `headrace.batches.reading`."""
