"""The command line against a Headrace in memory."""
