"""Unit tests: decisions, with properties."""
