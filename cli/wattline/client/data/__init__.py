"""What jobs read: secrets."""
