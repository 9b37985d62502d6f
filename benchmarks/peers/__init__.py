"""The servers that the serving program is compared with, written as their users write them."""
