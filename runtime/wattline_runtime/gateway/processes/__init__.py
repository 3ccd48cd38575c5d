"""A gateway of several processes: one parent, and processes that serve."""
