"""One module per group of routes; `ROUTES` in each holds (method, path, handler)."""
