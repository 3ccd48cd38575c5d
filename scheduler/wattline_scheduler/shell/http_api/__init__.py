"""The HTTP door: grid events from those who do not speak our protocol; only if configured."""
