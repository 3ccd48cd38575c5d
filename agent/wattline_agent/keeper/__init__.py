"""Keeper: parent process of all tasks on a node. Standard library only; it outlives the agent."""
