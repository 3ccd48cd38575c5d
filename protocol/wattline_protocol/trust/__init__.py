"""Keys, members and who may connect."""
