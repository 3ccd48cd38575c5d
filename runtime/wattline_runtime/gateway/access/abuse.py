"""Slows and blocks clients that abuse a gateway: keys, and addresses where it needs no keys."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from math import ceil

import structlog
from starlette.types import Scope

from wattline_protocol.http.limits import Network, client_key, is_within
from wattline_protocol.site.model import Abuse
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.wire.api_keys import ReportAbuse, Restraint
from wattline_runtime.gateway.access.conduct import STEP_S, STEPS_OF_WINDOW, Conduct, judge
from wattline_runtime.gateway.access.key_ring import ApiKeyRing
from wattline_runtime.gateway.errors import BadRequest

log = structlog.get_logger()

MAX_ADDRESSES = 4_096
DELAY_S = 1.0
"""Of each request of a slowed client."""
MAX_DELAYED = 256
"""Requests that wait at once; more are refused."""
MAX_REPORTED = 32
MAX_NOTED = 8
"""Lines of the log in a step."""


class Addresses:
    """Clients by address. Of more than are kept, the one that was seen longest ago is forgotten."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        """`trusted`: proxies, which are many clients, and are never judged."""
        self._trusted = trusted
        self._kept: OrderedDict[str, Conduct] = OrderedDict()
        self._newest: dict[str, Conduct | None] = {}
        """As written in this step, so that an address is parsed once."""

    def conduct(self, address: str) -> Conduct | None:
        """Of a client; None: it is a trusted proxy."""
        try:
            return self._newest[address]
        except KeyError:
            found = self._newest[address] = self._find(address)
            return found

    def _find(self, address: str) -> Conduct | None:
        if is_within(address, self._trusted):
            return None
        name = client_key(address)
        found = self._kept.get(name)
        if found is None:
            found = self._kept[name] = Conduct()
        self._kept.move_to_end(name)
        if len(self._kept) > MAX_ADDRESSES:
            self._kept.popitem(last=False)
            self._newest.clear()
        return found

    def begin_step(self) -> None:
        """Begin to note again which are seen."""
        self._newest.clear()

    def items(self) -> Iterable[tuple[str, Conduct]]:
        """All that are kept."""
        return self._kept.items()


class AbuseWatch:
    """The judgement of one gateway process."""

    def __init__(self, limits: Abuse, ring: ApiKeyRing | None, trusted: Sequence[Network]) -> None:
        """`ring` None: the gateway is open to all."""
        self._limits, self._ring = limits, ring
        self._addresses = Addresses(trusted)
        self._steps = 0
        self._delayed = 0

    def of_address(self, scope: Scope) -> Conduct | None:
        """Of the client of a request; None: nothing is known of it."""
        client = scope.get("client")
        return None if client is None else self._addresses.conduct(client[0])

    async def restrain(self, conduct: Conduct, unix_s: float) -> None:
        """Hold up a request of a restrained client, or refuse it. Raises BadRequest."""
        if conduct.blocked_until_s > unix_s:
            left_s = ceil(conduct.blocked_until_s - unix_s)
            why = "" if conduct.evidence is None else f": {conduct.evidence.text}"
            client = "this address" if self._ring is None else "this API key"
            raise BadRequest(
                "blocked", f"{client} is blocked for {format_duration(left_s)}{why}", left_s
            )
        if self._delayed >= MAX_DELAYED:
            text = f"{MAX_DELAYED} requests of slowed clients wait already, the maximum"
            raise BadRequest("slowed", text, 1)
        self._delayed += 1
        try:
            await asyncio.sleep(DELAY_S)
        finally:
            self._delayed -= 1

    def step(self, unix_s: float) -> None:
        """Judge all clients by their requests since the last step."""
        named = list(self._clients())
        active = [conduct for _, _, conduct in named if conduct.step]
        found = set(judge(active, self._limits, unix_s, self._steps // STEPS_OF_WINDOW))
        self._steps += 1
        self._addresses.begin_step()
        noted = ((name, conduct) for name, _, conduct in named if conduct in found)
        for name, conduct in islice(noted, MAX_NOTED):
            event = "client_blocked" if conduct.blocked_until_s > unix_s else "client_slowed"
            why = "" if conduct.evidence is None else conduct.evidence.text
            log.warning(event, client=name, why=why, newest_address=conduct.address)
        if len(found) > MAX_NOTED:
            log.warning("clients_restrained", total=len(found))

    def report(self, unix_s: float) -> ReportAbuse | None:
        """Restraints in force by the judgement of this process, blocks first; None: none are."""
        found = [
            Restraint(
                subject,
                self._ring is not None,
                conduct.blocked_until_s > unix_s,
                max(0.0, unix_s - conduct.since_s),
                conduct.restrained_until_s - unix_s,
                conduct.evidence,
            )
            for _, subject, conduct in self._clients()
            if conduct.restrained_until_s > unix_s and conduct.evidence is not None
        ]
        found.sort(key=lambda one: (not one.is_blocked, one.age_s))
        return ReportAbuse(tuple(found[:MAX_REPORTED])) if found else None

    def _clients(self) -> Iterable[tuple[str, str, Conduct]]:
        """Name for the log, subject in reports, and conduct."""
        if self._ring is None:
            return ((address, address, one) for address, one in self._addresses.items())
        keys = self._ring.every_key()
        return ((key.grant.name, key.grant.digest, key.conduct) for key in keys)


async def watch_abuse(watch: AbuseWatch, report: Callable[[ReportAbuse], None]) -> None:
    """Judge every few seconds and report each second, for as long as the gateway lasts."""
    next_s = time.monotonic() + STEP_S
    while True:
        await asyncio.sleep(1.0)
        unix_s = time.time()
        if time.monotonic() >= next_s:
            next_s += STEP_S
            watch.step(unix_s)
        if (found := watch.report(unix_s)) is not None:
            report(found)
