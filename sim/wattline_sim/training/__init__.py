"""A week of training on one feed: caps, saves and interruptions of two policies, in energy."""
