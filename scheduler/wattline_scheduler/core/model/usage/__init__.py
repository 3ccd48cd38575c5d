"""Resource usage of jobs, accounts and queues, and the quotas they count in."""
