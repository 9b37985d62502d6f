"""The function that asks a model for the records of a shard."""
