"""Runs accepted-for-later requests, from SQS."""
