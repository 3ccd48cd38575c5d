"""A whole site over virtual time: the plant's physics under the production scheduler and agents."""
