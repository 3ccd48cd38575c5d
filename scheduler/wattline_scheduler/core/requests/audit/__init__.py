"""Audit records of requests that were refused, and of what the shell carries for users."""
