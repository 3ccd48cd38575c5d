"""The site file and what it describes."""
