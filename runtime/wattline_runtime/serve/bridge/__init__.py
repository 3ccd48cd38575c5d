"""The bridge: a worker whose requests an HTTP server answers, started by a command."""
