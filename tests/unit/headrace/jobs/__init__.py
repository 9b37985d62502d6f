"""Requests accepted for later."""
