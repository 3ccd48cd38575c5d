"""Input of the planner: the snapshot of a site and its column form."""
