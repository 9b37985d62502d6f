"""Unit tests of the functions: real events, in-memory ports."""
