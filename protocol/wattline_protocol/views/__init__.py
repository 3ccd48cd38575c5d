"""Views of a site that clients receive."""
