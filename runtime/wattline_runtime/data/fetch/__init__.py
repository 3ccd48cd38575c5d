"""`python -m wattline_runtime.data.fetch`: brings versions of data sets into a node's cache."""
