"""Tests of the benchmark's own arithmetic: a wrong median would be believed."""
