"""The state of a site and its indexes. No policy."""
