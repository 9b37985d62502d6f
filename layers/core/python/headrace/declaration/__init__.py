"""What is declared, `endpoints/<name>/endpoint.yaml` and `endpoints/plans.yaml`: checked whole and compiled."""
