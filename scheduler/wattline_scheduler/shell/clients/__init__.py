"""Client sessions: requests, answers, subscriptions."""
