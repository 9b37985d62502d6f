"""The real models on real texts and photos."""
