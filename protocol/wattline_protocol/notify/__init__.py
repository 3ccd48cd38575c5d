"""Notifications of users: receivers that a job may name, and those that the site file allows."""
