"""Reads the logs of gateways, in a process that loads nothing else of them."""
