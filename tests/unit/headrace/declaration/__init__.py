"""What endpoint.yaml and plans.yaml may say."""
