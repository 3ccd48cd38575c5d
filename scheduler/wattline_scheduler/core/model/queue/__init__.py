"""The queue of pending jobs, in the order the planner evaluates it."""
