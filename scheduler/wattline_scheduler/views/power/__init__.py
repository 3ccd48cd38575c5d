"""Views of power: limits of budgets, sensors, and which domains limit work."""
