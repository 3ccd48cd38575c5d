"""Stores of bytes by key: a directory, or a bucket of an S3-compatible server."""
