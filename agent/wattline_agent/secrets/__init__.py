"""Secrets on a node: entries of users, values sealed for the node, and files of tasks."""
