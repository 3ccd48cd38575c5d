"""Cooling zones: units in service, outside temperature, inlets; pure."""

from dataclasses import dataclass


@dataclass(slots=True)
class ZoneNow:
    """What is known of one zone's plant."""

    units_in_service: int | None = None
    outside_c: float | None = None
    error: str = ""
    """Why the newest reading lacks something; empty = it was complete."""

    def take(self, units_in_service: int | None, outside_c: float | None, error: str) -> None:
        """A reading came in; what it does not say stays as it was."""
        self.error = error
        if units_in_service is not None:
            self.units_in_service = units_in_service
        if outside_c is not None:
            self.outside_c = outside_c
