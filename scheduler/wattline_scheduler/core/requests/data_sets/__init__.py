"""Requests about data sets: add, approve and remove versions."""
