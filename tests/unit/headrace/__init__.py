"""Unit tests of the domain: no socket and no clock."""
