"""Parts of screens that render view state and know nothing else."""
