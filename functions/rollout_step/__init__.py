"""The function that takes one turn of a progressive delivery."""
