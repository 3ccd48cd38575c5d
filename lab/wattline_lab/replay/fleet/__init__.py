"""A whole fleet of unlike GPUs below power budgets, planned by the production planner."""
