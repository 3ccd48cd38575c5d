"""Views of data sets."""
