"""Admission: decisions of one process and invariants of a fleet."""
