"""Acts on external sensors: domain meters and cooling plant."""

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.views.site_views import DomainView


def meters(client: Client) -> tuple[DomainView, ...]:
    """The domains with a meter."""
    return tuple(domain for domain in client.power() if domain.meter is not None)


def cooling(
    client: Client, *, zone: str | None, units_in_service: int | None, reason: str
) -> tuple[DomainView, ...] | str:
    """All cooling zones or one; with `units_in_service`, the result of setting it."""
    if units_in_service is not None:
        if zone is None:
            raise ActFailed(
                "specify a zone, for example: wattline cooling ZONE --units-in-service 2",
                exits.USAGE,
            )
        return client.set_units(zone, units_in_service, reason=reason)
    zones = tuple(domain for domain in client.power() if domain.kind == "cooling")
    if zone is None:
        return zones
    named = tuple(domain for domain in zones if domain.id == zone)
    if not named:
        known = ", ".join(domain.id for domain in zones) or "none"
        raise ActFailed(f"there is no cooling zone {zone}; the site has {known}", exits.USAGE)
    return named
