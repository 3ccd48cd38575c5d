"""Notifications of users, by mail and by HTTP, in threads beside the loop."""
