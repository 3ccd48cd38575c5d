"""Read-only views of a site for clients: pure functions from its state to the protocol's views."""
