"""The command line, for people: files, batches and jobs of a Headrace, over its public HTTP API and nothing else."""
