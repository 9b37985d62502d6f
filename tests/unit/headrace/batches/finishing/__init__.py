"""Tests of `headrace.batches.finishing`."""
