"""Building artifacts: manifests, archives, recipes, sources."""
