"""What programs inside tasks report through their agent."""
