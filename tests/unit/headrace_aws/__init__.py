"""Unit tests of the adapters: what they decide before and after a call."""
