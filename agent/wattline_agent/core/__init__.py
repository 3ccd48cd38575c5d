"""What an agent knows and decides: `Node.handle` is its only door for change; no I/O here."""
