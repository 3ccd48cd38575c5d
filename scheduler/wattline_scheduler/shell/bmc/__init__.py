"""Powers hosts off, and confirms it, without their agents."""
