"""Webhooks: signed delivery of events by HTTP, in order, repeated until acknowledged."""
