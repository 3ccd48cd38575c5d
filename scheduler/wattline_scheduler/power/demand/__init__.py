"""Power demand of GPUs and nodes: observed, learned and modelled."""
