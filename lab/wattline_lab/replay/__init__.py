"""Public traces through the production planner, beside published policies on the same rules."""
