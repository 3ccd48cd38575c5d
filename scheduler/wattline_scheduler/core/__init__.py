"""The state of a site and its only door for change, `Cluster.handle`; no I/O."""
