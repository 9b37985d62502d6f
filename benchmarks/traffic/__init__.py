"""What a request costs: its calls of AWS counted by an account in another process, and a price for a million of them."""
