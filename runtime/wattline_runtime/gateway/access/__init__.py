"""API keys of clients: rights to services, and rates."""
