"""The site: power tree, cooling tree, nodes, tariff and roles. See `sitefile` for the text form."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from wattline_protocol.ids import DomainId, NodeId, UserName
from wattline_protocol.job.spec import PRIORITIES
from wattline_protocol.site.out_of_band import OutOfBand
from wattline_protocol.site.sensing import Meter, Plant
from wattline_protocol.site.wall_power import PERMILLE

DomainKind = Literal["power", "cooling"]
Role = Literal["agent", "gateway", "submitter", "operator", "admin"]


class Domain(msgspec.Struct, frozen=True):
    """A set of nodes behind one limit, in the power tree or in the cooling tree."""

    id: DomainId
    kind: DomainKind
    parent: DomainId | None
    rating_mw: int
    """Breaker rating, or heat the zone's units can remove, in wall milliwatts."""
    derate_permille: int
    """Share of the rating that may be used continuously; 800 for breakers by default."""
    fixed_load_mw: int = 0
    transient_margin_mw: int = 0
    foreign_reserve_mw: int = 0
    meter: Meter | None = None
    """Of power domains: what measures the current through the breaker."""
    plant: Plant | None = None
    """Of cooling zones: what cools it, and how warm its inlets may be."""

    @property
    def budget_mw(self) -> int:
        """Rating x derate, x overbook of a zone: the most the domain may ever be given."""
        usable_mw = self.rating_mw * self.derate_permille // PERMILLE
        return usable_mw if self.plant is None else self.plant.booked_mw(usable_mw)


class InputShare(msgspec.Struct, frozen=True):
    """What one of several redundant power inputs carries of its node's wall watts, in permille."""

    share_permille: int
    """In normal operation."""
    when_lost: dict[DomainId, int] = {}
    """After the loss of a domain at or above another input; what is not listed is all of it."""

    def after(self, lost: DomainId, gone: Sequence[DomainId]) -> int:
        """Share after the loss of `lost`, which took the inputs `gone` of the same node.

        Where the domain itself is not listed, the one input that it took may be; if it took
        several, this one may have to carry everything.
        """
        listed = self.when_lost.get(lost)
        if listed is None and len(gone) == 1:
            listed = self.when_lost.get(gone[0])
        return PERMILLE if listed is None else listed


class Node(msgspec.Struct, frozen=True):
    """A host as the site file declares it."""

    id: NodeId
    rack: str
    inputs: tuple[DomainId, ...]
    """Power inputs: one, or redundant ones; the node counts in full in each without `shares`."""
    cooling_zone: DomainId | None
    non_gpu_worst_mw: int
    psu_efficiency_permille: int
    nameplate_mw: int
    """Counted until the node's first Hello (I1)."""
    is_off: bool = False
    shares: tuple[InputShare, ...] = ()
    """Of each input, in the same order; empty = no shares are stated."""
    out_of_band: OutOfBand | None = None
    """How it is switched off, or seen to be off, without its agent; None: by hand only."""
    labels: dict[str, str] = {}
    """Words that jobs may ask for."""


class Tariff(msgspec.Struct, frozen=True):
    """What energy and GPUs cost."""

    usd_per_kwh: float = 0.0
    usd_per_gpu_hour: float = 0.0


class FairShare(msgspec.Struct, frozen=True):
    """How the use of accounts is weighed against their shares."""

    half_life_s: float = 7 * 86_400.0
    """What was used so long ago counts half."""
    gpu_hours: float = 1.0
    """Weight of the time on GPUs; with both weights 0 nobody's use counts."""
    energy: float = 1.0
    """Weight of the energy at the wall."""
    shares: float = 1.0
    """Of each account that the site file does not name."""
    own_accounts: bool = True
    """Who names no account pays with one of their own; else jobs name one of the site file."""


OthersRunAs = Literal["same", "refuse", "keeper"]


class RunAs(msgspec.Struct, frozen=True):
    """Accounts of the hosts that tasks run as, by user."""

    users: dict[UserName, str] = {}
    others: OthersRunAs = "refuse"
    """Who is not named: as the account of their own name, not at all (they may not submit), or as
    the keeper's own, root included."""


class Quota(msgspec.Struct, frozen=True):
    """What all jobs of an account, or of a queue, may use together, and how many may be open;
    0 = no limit."""

    gpus: int = 0
    """At a time."""
    power_mw: int = 0
    """At a time: what is booked for their GPUs, at the wall."""
    energy_per_day_wh: float = 0.0
    cost_per_month_usd: float = 0.0
    open_jobs: int = 0
    """That have not ended, each index of an array and each replica."""


NO_QUOTA = Quota()


MOST_URGENT = 100
"""The highest priority there is."""

SUBMITTERS_MAX_PRIORITY = PRIORITIES["high"]
"""Of jobs of submitters, where neither their queue nor their account has a maximum of its own."""


class Account(msgspec.Struct, frozen=True):
    """Who pays. Shares are relative to those of accounts with the same parent."""

    name: str
    parent: str | None = None
    shares: float = 1.0
    quota: Quota = NO_QUOTA
    """Together with the accounts below it."""
    users: tuple[str, ...] = ()
    """Who may use it, and what is below it; empty = everybody."""
    max_priority: int | None = None
    """Of its jobs, and of those below it; None = as usual (`SUBMITTERS_MAX_PRIORITY`)."""


class Queue(msgspec.Struct, frozen=True):
    """Where jobs wait, with a quota of its own."""

    name: str
    quota: Quota = NO_QUOTA
    users: tuple[str, ...] = ()
    """Who may submit to it; empty = everybody."""
    max_priority: int | None = None
    """Of its jobs; None = as usual (`SUBMITTERS_MAX_PRIORITY`)."""
    max_runtime_s: float = 0.0
    """Longest run time limit of its jobs, and that of those that name none; 0 = no limit."""


class Service(msgspec.Struct, frozen=True):
    """A service name that several users share; any other belongs to the user who took it first."""

    name: str
    users: tuple[str, ...]
    """Nobody else may use it."""


class Timing(msgspec.Struct, frozen=True):
    """Periods and grace times of the site."""

    beat_period_s: float = 1.0
    isolation_after_s: float = 15.0
    isolation: Literal["keep", "floor"] = "keep"
    task_lease_s: float = 300.0
    emergency_grace_s: float = 5.0
    protected_run_s: float = 60.0
    """Work that has run for less is not sent back to the queue for higher priorities."""
    overtake_s: float = 3600.0
    """Who is expected to take little comes before others that were submitted so long before it."""
    max_grace_s: float = 3600.0
    """No job may take longer from stop notice to kill: others wait for that."""


class Weights(msgspec.Struct, frozen=True):
    """What each term of the cost of a place counts for, in GPUs; see docs/scheduling.md."""

    fragments: float = 1.0
    """Each GPU that the mix of tasks cannot use any more, where a mix is known."""
    fit: float = 1.0
    """Each GPU left over on the node, where no mix is known."""
    part: float = 0.1
    """For a share of a GPU: each thousandth that it leaves free of it, as GPUs left over."""
    warmth: float = 0.05
    """Each step by which its free GPUs would be too warm at full power."""
    stranding: float = 0.04
    """The whole budget of the tightest row above being used up."""
    watts: float = 0.0
    """Each kilowatt that the node must keep more; it draws work to GPUs of few watts."""
    cpus: float = 1e-6
    """Each CPU that is taken already."""
    locality: float = 0.5
    """For a gang: a rack that cannot take what is left of it, and one that has none of it yet."""
    spread: float = 8.0
    """For a service: each other replica in the rack, and each on the node. More than packing can
    gain on a node of eight: replicas are apart wherever they can be."""


CONNECTIONS_PER_ADDRESS = 256


class Gateway(msgspec.Struct, frozen=True):
    """Where inference workers find the gateway, and where it serves HTTP."""

    name: str
    worker_endpoint: str
    http_address: str
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies that name their clients in X-Forwarded-For."""
    connections_per_address: int = CONNECTIONS_PER_ADDRESS
    """HTTP connections that one client may have open."""


class Schedule(msgspec.Struct, frozen=True):
    """A lower budget of one domain in weekly windows of the site's local time."""

    domain: DomainId
    when: tuple[str, ...]
    """See `windows`."""
    limit_mw: int
    """Budget while a window is open, once the ramp is over."""
    ramp_s: float = 0.0
    release_s: float = 0.0
    reason: str = ""


class Webhook(msgspec.Struct, frozen=True):
    """Who is told of events by HTTP."""

    url: str
    events: tuple[str, ...]
    """Kinds of events, or patterns of kinds such as "budget_*"."""
    secret_file: str
    """File, for the scheduler's user alone, whose content signs each request."""


class HttpDoor(msgspec.Struct, frozen=True):
    """Where the scheduler itself takes grid events by HTTP."""

    listen: str
    """HOST:PORT."""
    token_file: str
    """File, for the scheduler's user alone, whose content callers must show."""
    caller: str = "grid"
    """Who they are in the audit log."""


LogReaders = Literal["owner", "everyone"]

OPEN_JOBS_PER_USER = 50_000
"""Nobody fills more than half of what may be open on a site, and five of the largest arrays fit."""

DISK_RESERVE_BYTES = 256 * 1024 * 1024

MAX_JOB_BYTES = 256 * 1024
"""Of one job, as a message carries it."""

OPEN_JOBS_BYTES_PER_USER = 64 * 1024 * 1024
"""Of all jobs of a user that have not ended."""


class Site(msgspec.Struct, frozen=True):
    """Everything the site file says, validated: ids are unique, trees are trees."""

    name: str
    agent_endpoint: str
    client_endpoint: str
    domains: tuple[Domain, ...]
    nodes: tuple[Node, ...]
    timing: Timing = Timing()
    tariff: Tariff = Tariff()
    gateways: tuple[Gateway, ...] = ()
    checkpoint_root: str = ""
    time_zone: str = "UTC"
    """Of the schedules' windows."""
    open_jobs_per_user: int = OPEN_JOBS_PER_USER
    """That have not ended, each index of an array and each replica."""
    max_job_bytes: int = MAX_JOB_BYTES
    open_jobs_bytes_per_user: int = OPEN_JOBS_BYTES_PER_USER
    disk_reserve_bytes: int = DISK_RESERVE_BYTES
    """Free space beside the store below which no job is taken; at most a tenth of its disk."""
    logs: LogReaders = "owner"
    """Who may read what tasks write, beside operators."""
    schedules: tuple[Schedule, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    http: HttpDoor | None = None
    roles: dict[str, Role] = {}
    """Roles that people hold instead of the one they were enrolled with."""
    weights: Weights = Weights()
    fair_share: FairShare = FairShare()
    run_as: RunAs | None = None
    """None: all tasks run as the keeper's user, unless that is root."""
    pass_env: tuple[str, ...] = ()
    """Variables of the keepers' environment that tasks see besides the usual ones."""
    accounts: tuple[Account, ...] = ()
    """Those that the site file names; others have no parent and the usual shares."""
    queues: tuple[Queue, ...] = ()
    """Those that the site file names; where it names none, any word is one."""
    services: tuple[Service, ...] = ()
    """Service names that the site file gives to users."""

    def domain_chain(self, leaf: DomainId) -> tuple[DomainId, ...]:
        """`leaf` and its ancestors, nearest first."""
        parents = {domain.id: domain.parent for domain in self.domains}
        chain: list[DomainId] = []
        at: DomainId | None = leaf
        while at is not None:
            chain.append(at)
            at = parents[at]
        return tuple(chain)

    def chains(self) -> dict[DomainId, tuple[DomainId, ...]]:
        """`domain_chain` of every domain."""
        parents = {domain.id: domain.parent for domain in self.domains}
        found: dict[DomainId, tuple[DomainId, ...]] = {}
        for leaf in parents:
            below: list[DomainId] = []
            at: DomainId | None = leaf
            while at is not None and at not in found:
                below.append(at)
                at = parents[at]
            chain = found[at] if at is not None else ()
            for domain in reversed(below):
                chain = found[domain] = (domain, *chain)
        return found

    def domains_of(self, node: Node) -> tuple[DomainId, ...]:
        """Every power domain and cooling zone that counts `node`, each once, in site-file order."""
        leaves = [*node.inputs, *([node.cooling_zone] if node.cooling_zone is not None else [])]
        above = {domain for leaf in leaves for domain in self.domain_chain(leaf)}
        return tuple(domain.id for domain in self.domains if domain.id in above)
