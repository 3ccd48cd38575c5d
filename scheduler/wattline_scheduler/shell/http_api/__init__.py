"""HTTP API: grid events from systems without Wattline's protocol; only if configured."""
