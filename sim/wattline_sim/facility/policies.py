"""What stands around the production cores: nothing, fewer nodes, or a controller of the row."""

from typing import TYPE_CHECKING, Protocol

from wattline_protocol.site.model import Site
from wattline_sim.facility.building import Building, at_tdp, without_cooling

if TYPE_CHECKING:
    from wattline_sim.facility.run import Facility


class Policy(Protocol):
    """One way of running the same fleet under the same feed."""

    name: str

    def building(self, building: Building) -> Building:
        """The part of the fleet that is in service."""

    def site(self, building: Building) -> Site:
        """The site file that the scheduler gets."""

    def second(self, facility: "Facility") -> None:
        """What it does once a second beside the cores."""


class Wattline:
    """The product as it is."""

    name = "wattline"

    def building(self, building: Building) -> Building:
        """All of it."""
        return building

    def site(self, building: Building) -> Site:
        """As built."""
        return building.site

    def second(self, facility: "Facility") -> None:
        """Nothing: the cores do it all."""


class Static(Wattline):
    """Every GPU booked at TDP: nodes that do not fit so stay off."""

    name = "static"

    def building(self, building: Building) -> Building:
        """What fits."""
        return at_tdp(building)

    def site(self, building: Building) -> Site:
        """Its power domains: it packs by watts alone."""
        return without_cooling(building.site)
