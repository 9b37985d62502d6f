"""The whole platform over the real models: what a user meets, through the front door."""
