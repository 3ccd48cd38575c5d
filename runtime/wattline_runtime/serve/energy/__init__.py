"""Energy of requests: the counters of a worker's GPUs, and their division over what it answers."""
