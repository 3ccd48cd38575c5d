"""Services of two users with few names between them. Half of all sites have them.

Their dice are their own, so that a site without them runs exactly as it would if there were none.
"""

import random
from collections import ChainMap
from collections.abc import Mapping, Sequence

import msgspec

from wattline_protocol.ids import UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Service, Site
from wattline_scheduler.records import JobRecord, Record
from wattline_sim.fleet.disk import Key, key_of
from wattline_sim.fleet.users.reserving import CLIENT

SITES_SHARE = 0.5
LISTED_SHARE = 0.3
NAMES = ("echo", "echo", "chat")
"""Drawn from: most of them want one and the same."""
USERS = (UserName("ada"), UserName("bob"))


class NameShared(AssertionError):
    """Two users have an open service of one name, and the site file does not give it to both."""


class Naming:
    """What services of one site are called, and whose they are."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._is_wanted = dice.random() < SITES_SHARE

    @property
    def is_wanted(self) -> bool:
        """Whether services of this site share names."""
        return self._is_wanted

    def with_services(self, site: Site) -> Site:
        """The site; some give one of the names to both users."""
        if not self._is_wanted or self._dice.random() >= LISTED_SHARE:
            return site
        return msgspec.structs.replace(site, services=(Service(NAMES[0], USERS),))

    def comeback_s(self) -> tuple[float, float] | None:
        """When the user of a service wants it again, and for how long; None = never."""
        if not self._is_wanted:
            return None
        return self._dice.uniform(10.0, 60.0), self._dice.uniform(5.0, 20.0)

    def submitted(self, spec: JobSpec) -> tuple[JobSpec, UserName]:
        """The job as it is submitted, and by whom."""
        if spec.kind != "service" or not self._is_wanted:
            return spec, UserName(CLIENT)
        return msgspec.structs.replace(spec, name=self._dice.choice(NAMES)), self._dice.choice(
            USERS
        )


def check_names(site: Site, before: Mapping[Key, Record], written: Sequence[Record]) -> None:
    """Raise if a transaction leaves a service name with two users that may not share it.

    `before`: what was on disk until then.
    """
    if not any(isinstance(record, JobRecord) and _is_open(record) for record in written):
        return
    after: Mapping[Key, Record] = ChainMap({key_of(r): r for r in written}, dict(before))
    owners: dict[str, set[str]] = {}
    for record in after.values():
        if isinstance(record, JobRecord) and _is_open(record):
            owners.setdefault(record.spec.name, set()).add(record.owner)
    shared = {service.name: set(service.users) for service in site.services}
    for name, users in owners.items():
        if len(users) > 1 and not users <= shared.get(name, set()):
            raise NameShared(f"open services named {name} belong to {', '.join(sorted(users))}")


def _is_open(record: JobRecord) -> bool:
    return record.spec.kind == "service" and record.ended_unix_s is None
