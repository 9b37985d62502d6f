"""The function that divides a batch into shards."""
