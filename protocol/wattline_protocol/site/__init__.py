"""The site file and its data model."""
