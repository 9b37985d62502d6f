"""The function that begins a batch when its file arrives."""
