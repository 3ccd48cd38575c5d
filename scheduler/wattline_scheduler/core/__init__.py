"""The state of a site and its only entry point for change, `Cluster.handle`; no I/O."""
