"""Library for training scripts that run as a gang."""
