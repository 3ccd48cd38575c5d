"""Pictures of simulated runs for the documentation; needs matplotlib, a development tool."""
