"""A job in the foreground: `wattline run`."""
