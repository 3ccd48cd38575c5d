"""Answers without a run of the model, and instead of a service that cannot answer."""
