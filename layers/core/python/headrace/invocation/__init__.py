"""What is asked, in which order, how often and for how long."""
