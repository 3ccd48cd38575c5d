"""Attempts on this node and the commands about them."""
