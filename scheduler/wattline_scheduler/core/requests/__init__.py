"""Requests of users and operators: validation, permissions, and what each one changes."""
