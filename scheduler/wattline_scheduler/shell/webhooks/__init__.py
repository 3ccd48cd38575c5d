"""Webhooks: who is told of which events by HTTP, signed, in order, and again until it is heard."""
