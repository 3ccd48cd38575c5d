"""Renderers: from views to text for display. Pure over their input; only `screen` writes."""
