"""From parts to files: merged, counted, reported."""
