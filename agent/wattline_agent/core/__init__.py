"""The agent's state and decisions: `Node.handle` is the only entry for changes; no I/O here."""
