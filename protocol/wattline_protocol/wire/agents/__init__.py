"""Messages between the scheduler and agents, beside those of `agent_messages`."""
