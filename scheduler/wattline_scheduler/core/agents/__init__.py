"""Messages of agents: handshake, heartbeats, acknowledgements and task reports."""
