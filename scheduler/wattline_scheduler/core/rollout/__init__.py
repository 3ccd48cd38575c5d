"""Rollouts: a service goes from one revision to the next, replica by replica, or back."""
