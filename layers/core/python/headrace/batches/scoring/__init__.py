"""From records to parts: what is asked, how fast, what becomes of a failure, and what is written once."""
