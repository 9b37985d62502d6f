"""What is to be done with a file: shards to score, or a transform job."""
