"""Which worker is trusted, and which requests are sent to a second one."""
