"""The site: power and cooling trees, nodes, tariff, roles. See `site.file` for the text form."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from wattline_protocol.data.site_data import USUAL_DATA, SiteData
from wattline_protocol.ids import DomainId, NodeId, UserName
from wattline_protocol.job.spec import PRIORITIES, PowerGoal
from wattline_protocol.notify.site_notify import NO_NOTIFY, SiteNotify
from wattline_protocol.routing.model import SiteRoute
from wattline_protocol.site.containers import USUAL_CONTAINERS, Containers
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
    """Power domains: the meter that measures the current through the breaker."""
    plant: Plant | None = None
    """Cooling zones: the cooling plant, and the limit of inlet temperatures."""

    @property
    def budget_mw(self) -> int:
        """Rating x derate, x overbook of a zone: the maximum budget of the domain."""
        usable_mw = self.rating_mw * self.derate_permille // PERMILLE
        return usable_mw if self.plant is None else self.plant.booked_mw(usable_mw)


class InputShare(msgspec.Struct, frozen=True):
    """Share of its node's wall watts on one of several redundant power inputs, in permille."""

    share_permille: int
    """In normal operation."""
    when_lost: dict[DomainId, int] = {}
    """After the loss of a domain at or above another input; unlisted: the whole."""

    def after(self, lost: DomainId, gone: Sequence[DomainId]) -> int:
        """Share after the loss of `lost`, which removed the inputs `gone` of the same node.

        Where the domain itself is not listed, the one input that it removed may be; if it removed
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
    """Power inputs: one, or redundant ones; without `shares` the node counts in full in each."""
    cooling_zone: DomainId | None
    non_gpu_worst_mw: int
    psu_efficiency_permille: int
    nameplate_mw: int
    """Counted until the node's first Hello (I1)."""
    is_off: bool = False
    shares: tuple[InputShare, ...] = ()
    """Share of each input, in the same order; empty = not specified."""
    out_of_band: OutOfBand | None = None
    """How it is powered off, or confirmed off, without its agent; None: by an operator only."""
    labels: dict[str, str] = {}
    """Labels that jobs can require."""


class Tariff(msgspec.Struct, frozen=True):
    """Prices of energy and GPUs."""

    usd_per_kwh: float = 0.0
    usd_per_gpu_hour: float = 0.0


class FairShare(msgspec.Struct, frozen=True):
    """How the usage of accounts is weighed against their shares."""

    half_life_s: float = 7 * 86_400.0
    """Age at which usage counts half."""
    gpu_hours: float = 1.0
    """Weight of the time on GPUs; with both weights 0 no usage counts."""
    energy: float = 1.0
    """Weight of the energy at the wall."""
    shares: float = 1.0
    """Shares of each account that the site file does not name."""
    own_accounts: bool = True
    """Charge jobs without an account to the user's own; else one of the site file is required."""


OthersRunAs = Literal["same", "refuse", "keeper"]


class RunAs(msgspec.Struct, frozen=True):
    """Accounts of the hosts that tasks run as, by user."""

    users: dict[UserName, str] = {}
    others: OthersRunAs = "refuse"
    """Users not named: run as the account of the same name, not at all (they may not submit), or as
    the keeper's own, root included."""


class Quota(msgspec.Struct, frozen=True):
    """Limits for the sum of all jobs of an account, or of a queue, and for their number; 0 = no
    limit."""

    gpus: int = 0
    """Allocated at a time."""
    power_mw: int = 0
    """Booked for their GPUs at a time, at the wall."""
    energy_per_day_wh: float = 0.0
    cost_per_month_usd: float = 0.0
    open_jobs: int = 0
    """Jobs that have not ended, counting each index of an array and each replica."""


NO_QUOTA = Quota()


MOST_URGENT = 100
"""The highest priority."""

SUBMITTERS_MAX_PRIORITY = PRIORITIES["high"]
"""For submitters' jobs, where neither their queue nor their account sets a maximum."""


class Account(msgspec.Struct, frozen=True):
    """An account to charge. Shares are relative to those of accounts with the same parent."""

    name: str
    parent: str | None = None
    shares: float = 1.0
    quota: Quota = NO_QUOTA
    """Includes the accounts below it."""
    users: tuple[str, ...] = ()
    """Users with access to it and to the accounts below it; empty = all."""
    max_priority: int | None = None
    """Of its jobs, and of those below it; None = the default (`SUBMITTERS_MAX_PRIORITY`)."""


class Queue(msgspec.Struct, frozen=True):
    """A queue of jobs, with a quota of its own."""

    name: str
    quota: Quota = NO_QUOTA
    users: tuple[str, ...] = ()
    """Users allowed to submit to it; empty = all."""
    max_priority: int | None = None
    """Of its jobs; None = the default (`SUBMITTERS_MAX_PRIORITY`)."""
    max_runtime_s: float = 0.0
    """Maximum runtime limit of its jobs, and default of those without one; 0 = no limit."""
    goal: PowerGoal | Literal[""] = ""
    """Default `power.goal` of its jobs that may have it; empty = none."""


class Service(msgspec.Struct, frozen=True):
    """A service name shared by several users; any other belongs to its first user."""

    name: str
    users: tuple[str, ...]
    """No other user may use it."""


class Timing(msgspec.Struct, frozen=True):
    """Periods and grace times of the site."""

    beat_period_s: float = 1.0
    isolation_after_s: float = 15.0
    isolation: Literal["keep", "floor"] = "keep"
    task_lease_s: float = 300.0
    emergency_grace_s: float = 5.0
    protected_run_s: float = 60.0
    """Work that has run for less is not requeued for higher priorities."""
    overtake_s: float = 3600.0
    """A job expected to be short may overtake others submitted up to this long before it."""
    max_grace_s: float = 3600.0
    """Longest grace period from stop notice to kill: others wait for that."""
    fence_after_s: float = 0.0
    """A silent node is switched off out of band after this; 0 = never."""
    fence_max: int = 0
    """Nodes that may be silent or fenced at once for that; 0 = the default (`Site.fence_max`)."""


class Weights(msgspec.Struct, frozen=True):
    """Weights of the terms of a placement's cost, in GPUs; see docs/scheduling.md."""

    fragments: float = 1.0
    """Each GPU that the task mix can no longer use, where a mix is known."""
    fit: float = 1.0
    """Each GPU left over on the node, where no mix is known."""
    part: float = 0.1
    """For a share of a GPU: each thousandth left free of it, as GPUs left over."""
    warmth: float = 0.05
    """Each step by which its free GPUs would be too warm at full power."""
    stranding: float = 0.04
    """The budget of the tightest row above being used up completely."""
    watts: float = 0.0
    """Each additional kilowatt booked for the node; prefers GPUs that draw less."""
    cpus: float = 1e-6
    """Each CPU that is allocated already."""
    locality: float = 0.5
    """For a gang: a rack that cannot take the rest of it, and one that has none of it yet."""
    spread: float = 8.0
    """For a service: each other replica in the rack, and each on the node. More than packing can
    gain on a node of eight: replicas are spread wherever possible."""


CONNECTIONS_PER_ADDRESS = 256
HOLD_S = 2.0
KEYS_VALID_S = 3600.0


class Gateway(msgspec.Struct, frozen=True):
    """Endpoints of the gateway: for inference workers, and for HTTP."""

    name: str
    worker_endpoint: str
    http_address: str
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies that name their clients in X-Forwarded-For."""
    connections_per_address: int = CONNECTIONS_PER_ADDRESS
    """Open HTTP connections per client."""
    hold_s: float = HOLD_S
    """How long the requests of a service wait for a worker while none is ready."""
    tls_cert: str = ""
    """Certificate chain for HTTPS, a PEM file on the gateway's host; empty: plain HTTP."""
    tls_key: str = ""
    insecure: bool = False
    """It accepts API keys over plain HTTP on any address."""
    open: bool = False
    """It accepts requests without an API key."""
    keys_valid_s: float = KEYS_VALID_S
    """How long it accepts API keys without news of the scheduler."""


class Abuse(msgspec.Struct, frozen=True):
    """Limits of a key, or of an address at an open gateway, within a minute."""

    enabled: bool = True
    requests: int = 100
    """Fewer are never judged."""
    refused: float = 0.9
    """Share of requests that the limits of the key refuse."""
    failed: float = 0.5
    """Share of requests that fail by the fault of the client."""
    repeated: float = 0.3
    """Share of requests that have failed before, and are sent again unchanged."""
    oversize: float = 0.2
    block_s: float = 600.0


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
    """Delivery of events by HTTP."""

    url: str
    events: tuple[str, ...]
    """Kinds of events, or patterns of kinds such as "budget_*"."""
    secret_file: str
    """File, private to the scheduler's user, whose content signs each request."""


class HttpApi(msgspec.Struct, frozen=True):
    """HTTP API of the scheduler for grid events."""

    listen: str
    """HOST:PORT."""
    token_file: str
    """File, private to the scheduler's user, whose content callers must send."""
    caller: str = "grid"
    """Name of the callers in the audit log."""


LogReaders = Literal["owner", "everyone"]

TerminalUsers = Literal["owner", "operators"]

RENDEZVOUS_PORTS = (20_000, 29_999)
"""Below the ephemeral ports of Linux."""

FENCED_PERMILLE = 20
"""Default of `fence_max`, as a fraction of the nodes."""

OPEN_JOBS_PER_USER = 50_000
"""No user can fill more than half of a site's open jobs, and five of the largest arrays fit."""

DISK_RESERVE_BYTES = 256 * 1024 * 1024

MAX_JOB_BYTES = 256 * 1024
"""Size of one job in a message."""

OPEN_JOBS_BYTES_PER_USER = 64 * 1024 * 1024
"""Size of all jobs of a user that have not ended."""


class Site(msgspec.Struct, frozen=True):
    """The content of the site file, validated: ids are unique, trees are trees."""

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
    """Time zone of the schedules' windows."""
    open_jobs_per_user: int = OPEN_JOBS_PER_USER
    """Jobs that have not ended, counting each index of an array and each replica."""
    max_job_bytes: int = MAX_JOB_BYTES
    open_jobs_bytes_per_user: int = OPEN_JOBS_BYTES_PER_USER
    disk_reserve_bytes: int = DISK_RESERVE_BYTES
    """Free space beside the store below which no job is accepted; at most a tenth of its disk."""
    rendezvous_ports: tuple[int, int] = RENDEZVOUS_PORTS
    """First and last of the ports at which the ranks of a torchrun gang meet."""
    logs: LogReaders = "owner"
    """Access to the output of tasks, besides operators."""
    terminals: TerminalUsers = "owner"
    """Users that may use the terminals of jobs: the owner, or operators too."""
    schedules: tuple[Schedule, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    http: HttpApi | None = None
    roles: dict[str, Role] = {}
    """Roles of people that replace those they were enrolled with."""
    weights: Weights = Weights()
    fair_share: FairShare = FairShare()
    run_as: RunAs | None = None
    """None: all tasks run as the keeper's account, unless that is root."""
    pass_env: tuple[str, ...] = ()
    """Variables of the keepers' environment that tasks see besides the usual ones."""
    containers: Containers = USUAL_CONTAINERS
    data: SiteData = USUAL_DATA
    accounts: tuple[Account, ...] = ()
    """Accounts of the site file; others have no parent and the usual shares."""
    queues: tuple[Queue, ...] = ()
    """Queues of the site file; where there are none, any name is one."""
    services: tuple[Service, ...] = ()
    """Service names that the site file assigns to users."""
    abuse: Abuse = Abuse()
    routes: tuple[SiteRoute, ...] = ()
    notify: SiteNotify = NO_NOTIFY

    @property
    def fence_max(self) -> int:
        """Nodes that may be silent or fenced at once while any is fenced."""
        return self.timing.fence_max or max(1, len(self.nodes) * FENCED_PERMILLE // PERMILLE)

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
