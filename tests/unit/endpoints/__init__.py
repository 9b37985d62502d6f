"""The endpoints' own pre- and post-processing, on small arrays."""
