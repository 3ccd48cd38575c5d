"""What the terminal costs, and how fast it is, on a large site."""
