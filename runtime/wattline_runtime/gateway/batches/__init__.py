"""Files of inputs that run on idle replicas: kept on disk, resumed after a crash."""
