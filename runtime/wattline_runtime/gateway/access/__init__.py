"""API keys of clients: who may use which service, and how much."""
