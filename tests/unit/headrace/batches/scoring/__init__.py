"""Tests of `headrace.batches.scoring`."""
