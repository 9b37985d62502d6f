"""Who may come in: concurrency, then rate, then budget, each per tenant and exact across a fleet without a server."""
