"""Job specifications and job files."""
