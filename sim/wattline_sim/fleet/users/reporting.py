"""Gateways of a simulated site that report each second, fall silent at times and lose reports."""

import random
from collections.abc import Callable

import msgspec

from wattline_protocol.ids import UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Gateway, Site
from wattline_protocol.wire.client_messages import Request
from wattline_protocol.wire.rollouts import RolloutOptions
from wattline_sim.fleet.world import World

REPORT_S = 1.0
SILENCE_MEAN_S = 40.0
"""Between silences of a gateway."""

Tell = Callable[[Request, UserName], None]
Submit = Callable[[JobSpec, RolloutOptions | None, UserName], None]


class ReportingGateways:
    """One or two gateways of one site, or none."""

    lost_share: float
    """Of reports."""
    silence_s: float
    """The longest silence of a gateway."""

    def __init__(self, world: World, dice: random.Random, prefix: str, sites_share: float) -> None:
        self._world, self._dice = world, dice
        count = dice.choice((1, 2))
        is_wanted = dice.random() < sites_share
        self._names = tuple(f"{prefix}{number}" for number in range(count)) if is_wanted else ()
        self._silent_until_s = dict.fromkeys(self._names, 0.0)

    def with_gateways(self, site: Site) -> Site:
        """The site with them."""
        gateways = tuple(Gateway(name, "sim://workers", "sim:0") for name in self._names)
        return msgspec.structs.replace(site, gateways=gateways) if gateways else site

    def _begin_reports(self, report: Callable[[str], None]) -> None:
        """Each gateway at a moment of its own, then each second."""

        def repeat(name: str) -> None:
            report(name)
            self._world.after(REPORT_S, lambda: repeat(name))

        for name in self._names:
            self._world.after(self._dice.uniform(0.0, REPORT_S), lambda name=name: repeat(name))  # type: ignore[misc] # mypy cannot type a lambda's default

    def _after(self, mean_s: float, act: Callable[[], None]) -> None:
        self._world.after(self._dice.expovariate(1.0 / mean_s), act)

    def _is_heard(self, name: str) -> bool:
        if self._dice.random() < REPORT_S / SILENCE_MEAN_S:
            self._silent_until_s[name] = self._world.now_s + self._dice.uniform(0.0, self.silence_s)
        is_lost = self._dice.random() < self.lost_share
        return not is_lost and self._world.now_s >= self._silent_until_s[name]
