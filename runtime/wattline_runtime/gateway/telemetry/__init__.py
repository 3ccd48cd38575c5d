"""Observability of a gateway: metrics, logs of requests and bodies, spans."""
