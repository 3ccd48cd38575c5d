"""The simulated driver library: its C sources, the headers generated for them, and its build."""
