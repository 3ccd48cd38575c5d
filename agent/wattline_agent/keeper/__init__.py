"""The keeper: parent of all tasks of a node, in the standard library only; outlives the agent."""
