"""Three-class sentiment: MiniLM and a bag of word pieces."""
