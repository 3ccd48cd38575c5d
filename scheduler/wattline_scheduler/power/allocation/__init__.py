"""Division of watts among nodes and GPUs."""
