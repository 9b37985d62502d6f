"""Asks versions whose answers nobody sees, and counts how they compare, from SQS."""
