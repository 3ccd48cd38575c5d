"""Renderers: from views to text for people. Pure over their input; only `screen` writes."""
