"""What operators do to nodes and their GPUs."""
