"""What a training script may use to run as a gang, and the examples that do."""
