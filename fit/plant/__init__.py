"""Constants of the simulated plant, fitted to public traces: `python -m fit.plant [TRACES]`."""
