"""A synchronous gang on GPUs that differ, with and without shifts of watts inside it."""
