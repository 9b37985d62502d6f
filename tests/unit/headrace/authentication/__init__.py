"""Who calls: keys, tokens, signed requests, and their end."""
