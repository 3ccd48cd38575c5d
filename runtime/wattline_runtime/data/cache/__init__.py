"""The cache of a node: versions of data sets as folders of hard links to read-only files."""
