"""Routes: which service answers a request to a public name, and cascades."""
