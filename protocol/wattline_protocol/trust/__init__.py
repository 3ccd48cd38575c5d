"""Keys, members and authorization."""
