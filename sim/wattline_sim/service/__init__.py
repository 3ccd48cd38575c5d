"""A service beside training on one feed: recorded requests, replicas, and two ways to scale."""
