"""Tells webhooks of the ends of jobs and batches, from SQS."""
