"""Library for training scripts that run as a gang, and examples."""
