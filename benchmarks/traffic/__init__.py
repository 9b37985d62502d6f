"""What a request costs: its calls of AWS, made to an account in another process, and a price for a million of them."""
