"""Settings for the whole suite."""

from hypothesis import HealthCheck, settings

# Machines are small and shared, so hypothesis must not fail a test for being slow; a failing
# example is printed as a blob that replays it.
settings.register_profile(
    "wattline", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wattline")
