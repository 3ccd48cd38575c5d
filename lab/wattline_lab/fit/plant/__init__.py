"""Constants of the simulated plant, fitted to public traces."""
