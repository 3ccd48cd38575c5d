"""Power leases: how watts reach a node, what lowers them, and when a node is not trusted."""
