"""What jobs read: data sets and secrets."""
