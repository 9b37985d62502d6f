"""Who calls: keys, tokens and signed requests become a principal, and how each of them is ended."""
