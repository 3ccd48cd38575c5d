"""How a client behaves: its requests within a minute, and those that it spoils itself. No I/O.

A request counts against a client only where the fault is its own. The gateway knows that of bodies
it cannot read, of sizes, and of limits that the client's key exceeds. What the *model* refuses may
be the model's fault: it counts in so far as the same service, within the same seconds, refuses less
of what others send. So nothing counts while a service fails for all, or has no other users.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from wattline_protocol.site.model import Abuse
from wattline_protocol.text.names import MAX_NAME_CHARS
from wattline_protocol.wire.api_keys import AbuseEvidence
from wattline_runtime.gateway.stats import UNKNOWN_SERVICE

STEP_S = 5.0
"""Clients are compared with others, and judged, so often."""
STEPS_OF_WINDOW = 12
PROBATION_PART = 5
"""A client that was slowed is judged by this fraction of the usual number of requests."""
SLOWED_S = 60.0
REMEMBERED_S = 600.0
"""One that exceeds the limits again within this time after a restraint is blocked."""
LEAST_OF_OTHERS = 10
"""Requests of another client that the model judged in a step; fewer show nothing about it."""
LEAST_STEPS = 3
"""Steps of a window in which a client fails at more than others. Where a service breaks or recovers
within a step, one that began or ended in the step looks worse than the others, in that step."""
MAX_SEEN = 64
"""Inputs that failed in a window, by their hashes."""
MAX_SERVICES = 16

OVERSIZE = "body_too_large"
MALFORMED = "malformed"
BY_MODEL = frozenset({"bad_input", "poison", "no_method"})
REFUSED = frozenset({"forbidden", "budget_used_up"})
OVER_RATE = "rate_limited"


@dataclass(slots=True)
class AtService:
    """Requests at one service in a step."""

    answered: int = 0
    by_model: int = 0
    """Those that its model refused."""
    repeated: int = 0
    """Those of them that were sent before."""
    others: int = 0
    """Those that say nothing about the model."""

    @property
    def judged(self) -> int:
        """Requests that the model has answered or refused."""
        return self.answered + self.by_model

    @property
    def share(self) -> float:
        """Of what the model refused."""
        return self.by_model / self.judged


@dataclass(slots=True)
class Counts:
    """Requests that count against a client."""

    refused: float = 0.0
    failed: int = 0
    repeated: int = 0
    oversize: int = 0

    def add(self, other: "Counts") -> None:
        """Those of a step."""
        self.refused += other.refused
        self.failed += other.failed
        self.repeated += other.repeated
        self.oversize += other.oversize


@dataclass(slots=True)
class Window:
    """Since the window began."""

    number: int = -1
    requests: int = 0
    counts: Counts = field(default_factory=Counts)
    more_failed: float = 0.0
    """What the model refused, beyond the share of others."""
    more_repeated: float = 0.0
    worse_steps: int = 0


@dataclass(slots=True)
class WholeRate:
    """What the rate of a key admits at all gateways together: this one may grant a part only, and
    then its refusals say nothing about the client."""

    rate_per_s: float = 0.0
    burst: float = 0.0
    left: float = 0.0
    at_s: float = 0.0

    def limit(self, rate_per_s: float, burst: float) -> None:
        """Change the limits."""
        self.rate_per_s, self.burst, self.left = rate_per_s, burst, burst

    def excess_share(self, inputs: int, now_s: float) -> float:
        """Share of the inputs since the last call that no gateway could have admitted."""
        idle_s = max(0.0, now_s - self.at_s - STEP_S)
        full = min(self.burst, self.left + self.rate_per_s * idle_s)
        admitted = full + self.rate_per_s * STEP_S
        self.at_s = now_s
        self.left = min(self.burst, max(0.0, admitted - inputs))
        return max(0.0, inputs - admitted) / inputs if inputs else 0.0


@dataclass(slots=True, eq=False)
class Conduct:
    """Of a key, or of an address at an open gateway. Times are Unix seconds."""

    step: dict[str, AtService] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    """Of the step."""
    window: Window = field(default_factory=Window)
    whole_rate: WholeRate = field(default_factory=WholeRate)
    inputs: int = 0
    """Asked for in this step."""
    over_rate: int = 0
    address: str = ""
    """Where the newest request that counts against it came from."""
    restrained_until_s: float = 0.0
    blocked_until_s: float = 0.0
    since_s: float = 0.0
    evidence: AbuseEvidence | None = None
    """Of its restraint, by the judgement of this gateway."""
    _seen: dict[int, None] = field(default_factory=dict)

    # --- requests

    def answered(self, service: str) -> None:
        """A request has ended with an output."""
        at = self.step.get(service) or self._at(service)
        at.answered += 1

    def _at(self, service: str) -> AtService:
        is_kept = len(self.step) < MAX_SERVICES and len(service) <= MAX_NAME_CHARS
        name = service if is_kept else UNKNOWN_SERVICE
        return self.step.setdefault(name, AtService())

    def failed(self, service: str, reason: str, body: bytes, address: str) -> None:
        """A request has ended with an error."""
        at, counts = self.step.get(service) or self._at(service), self.counts
        at.others += reason not in BY_MODEL
        if reason == MALFORMED:
            counts.failed += 1
            counts.repeated += self._is_repeated(body)
        elif reason in BY_MODEL:
            at.by_model += 1
            at.repeated += self._is_repeated(body)
        elif reason == OVERSIZE:
            counts.oversize += 1
        elif reason in REFUSED:
            counts.refused += 1
        elif reason == OVER_RATE:
            self.over_rate += 1
        else:
            return  # not the client's fault
        self.address = address

    def _is_repeated(self, body: bytes) -> bool:
        """Whether this input has failed before in the window."""
        number = hash(body)
        if number in self._seen:
            return True
        if len(self._seen) < MAX_SEEN:
            self._seen[number] = None
        return False

    # --- judgement

    def close_step(self, others: "Shares", limits: Abuse, now_s: float, number: int) -> None:
        """Add the step to the window with this number."""
        if self.window.number != number:
            self.begin_window(number)
        window = self.window
        requests = sum(at.judged + at.others for at in self.step.values())
        window.requests += requests
        excess = self.whole_rate.excess_share(self.inputs, now_s)
        self.counts.refused += min(self.over_rate, excess * requests)
        window.counts.add(self.counts)
        more = 0.0
        for service, at in self.step.items():
            if at.by_model and (usual := others.usual(service, at)) is not None:
                beyond = max(0.0, at.by_model - usual * at.judged)
                more += beyond
                window.more_repeated += at.repeated * beyond / at.by_model
        window.more_failed += more
        window.worse_steps += more > 0 and more >= limits.failed * requests / 2
        self.step.clear()
        self.counts = Counts()
        self.inputs = self.over_rate = 0

    def exceeds(self, limits: Abuse, now_s: float) -> bool:
        """Whether a share of the window is beyond the limits."""
        is_known = now_s < self.restrained_until_s + REMEMBERED_S
        seen = self._evidence()
        least = limits.requests // PROBATION_PART if is_known else limits.requests
        return seen.requests >= least and (
            seen.refused >= limits.refused * seen.requests
            or seen.failed >= limits.failed * seen.requests
            or seen.repeated >= limits.repeated * seen.requests
            or seen.oversize >= limits.oversize * seen.requests
        )

    def restrain(self, limits: Abuse, now_s: float) -> None:
        """Slow it; if it was restrained lately, block it."""
        self.evidence = self._evidence()
        if now_s < self.restrained_until_s + REMEMBERED_S:
            self.blocked_until_s = now_s + limits.block_s
        self.restrained_until_s = max(self.blocked_until_s, now_s + SLOWED_S)
        self.since_s = now_s
        self.begin_window(self.window.number)

    def block_until(self, until_s: float) -> None:
        """The scheduler blocks it, by the judgement of any gateway."""
        self.blocked_until_s = max(self.blocked_until_s, until_s)
        self.restrained_until_s = max(self.restrained_until_s, until_s)

    def begin_window(self, number: int) -> None:
        """Count from zero."""
        self.window = Window(number)
        self._seen.clear()

    def _evidence(self) -> AbuseEvidence:
        window, counts = self.window, self.window.counts
        is_worse = window.worse_steps >= LEAST_STEPS
        return AbuseEvidence(
            window.requests,
            int(counts.refused),
            counts.failed + (int(window.more_failed) if is_worse else 0),
            counts.repeated + (int(window.more_repeated) if is_worse else 0),
            counts.oversize,
            self.address,
        )


class Shares:
    """What the models of services refuse of each client, in a step."""

    def __init__(self, active: Iterable[Conduct]) -> None:
        self._by_service: dict[str, list[float]] = {}
        for conduct in active:
            for service, at in conduct.step.items():
                if at.judged >= LEAST_OF_OTHERS:
                    self._by_service.setdefault(service, []).append(at.share)
        for shares in self._by_service.values():
            shares.sort()

    def usual(self, service: str, own: AtService) -> float | None:
        """The median of all others; None: too few requests of others show how it is."""
        shares = self._by_service.get(service, [])
        counts = own.judged >= LEAST_OF_OTHERS
        others = len(shares) - counts
        if others < 1:
            return None
        at = (others - 1) // 2  # the lower one of two
        is_before = counts and own.share <= shares[at]
        return shares[at + is_before]


def judge(active: Collection[Conduct], limits: Abuse, now_s: float, window: int) -> list[Conduct]:
    """Close a step of those with requests, in the window with this number; restrains and returns
    those that exceed the limits."""
    others = Shares(active)
    for conduct in active:
        conduct.close_step(others, limits, now_s, window)
    found = [conduct for conduct in active if conduct.exceeds(limits, now_s)]
    for conduct in found:
        conduct.restrain(limits, now_s)
    return found
