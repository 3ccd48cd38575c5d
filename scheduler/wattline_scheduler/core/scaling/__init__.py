"""Applies the decisions about watts and replicas of services."""
