"""Views of what jobs read: data sets and secrets."""
