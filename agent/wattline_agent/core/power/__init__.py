"""Power caps within the lease of the node."""
