"""Fixed snapshots of a site of 1,000 nodes, with as much of everything else."""

import msgspec

from support.core.service_views import services_now
from support.core.site_views import (
    NOON,
    busy_site,
    domain,
    event,
    job,
    node,
    problem,
    reservations_now,
)
from wattline_protocol.ids import JobId, NodeId, UnixTime
from wattline_protocol.views.account_views import AccountView, QuotaLimit, QuotaView
from wattline_protocol.views.queue_views import MAX_QUEUE_HEAD, QueuedView
from wattline_protocol.views.service_views import RouteView, Services, WorkerView
from wattline_protocol.views.site_views import DomainView, JobState, JobView, NodeView, SiteView
from wattline_protocol.wire.client_messages import Accounts
from wattline_protocol.wire.problems import ProblemView
from wattline_protocol.wire.reservations import Reservations

NODES, JOBS, SERVICES, TEAMS, RESERVATIONS = 1_000, 400, 120, 90, 40
SILENT_EACH = 97
NODES_OF_A_RACK, RACKS_OF_A_FEED = 2, 50


def large_site() -> SiteView:
    """1,000 nodes of 8 GPUs on ten feeds, 400 jobs, problems and events."""
    problems = _problems()
    return msgspec.structs.replace(
        busy_site(),
        domains=_domains(),
        nodes=tuple(map(_node, range(1, NODES + 1))),
        jobs=tuple(map(_job, range(1, JOBS + 1))),
        queue=tuple(
            QueuedView(JobId(4 * n + 2), UnixTime(NOON + 600 * n) if n < 8 else None)
            for n in range(MAX_QUEUE_HEAD)
        ),
        events=tuple(event(n, f"node gpu-{n:02d} has said hello") for n in range(1, 201)),
        problems=problems,
        open_alarms=sum(one.severity == "alarm" for one in problems),
        open_warnings=sum(one.severity == "warning" for one in problems),
    )


def _domains() -> tuple[DomainView, ...]:
    """A site, its feeds, their racks; halls that are cooled."""
    racks = NODES // NODES_OF_A_RACK
    feeds = racks // RACKS_OF_A_FEED
    return (
        domain("site", "power", None, (5_210_000, 5_620_000, 6_000_000)),
        *(
            domain(f"feed-{n}", "power", "site", (521_000, 562_000 + 6_000 * n, 620_000))
            for n in range(1, feeds + 1)
        ),
        *(
            domain(
                f"rack-r{n}",
                "power",
                f"feed-{(n - 1) // RACKS_OF_A_FEED + 1}",
                (10_400, 11_200, 12_400 + n % 7 * 100),
            )
            for n in range(1, racks + 1)
        ),
        *(
            domain(f"hall-{n}", "cooling", None, (1_302_000, 1_405_000, 1_600_000))
            for n in range(1, 5)
        ),
    )


def _node(number: int) -> NodeView:
    owner = JobId(number % JOBS // 4 * 4 + 1)
    view = node(number, (400.0 if number % 5 else 70.0,) * 8)
    gpus = tuple(
        msgspec.structs.replace(gpu, job=owner if gpu.job is not None else None)
        for gpu in view.gpus
    )
    if number % SILENT_EACH == 0:
        gone = {"state": "silent", "measured_w": None, "heard_ago_s": 63.0, "problems": ("silent",)}
        return msgspec.structs.replace(view, gpus=gpus, **gone)
    return msgspec.structs.replace(view, gpus=gpus, tasks=(f"{owner}.0#1 sweep-{owner}",))


def _job(number: int) -> JobView:
    states: tuple[JobState, ...] = ("RUNNING", "RUNNING", "PENDING", "HELD")
    return job(
        number,
        f"sweep-{number}",
        states[number % 4],
        owner=f"user{number % 7}",
        account=f"team-{number % TEAMS + 1}",
        priority=number % 3 * 25,
        gpus=number % 8 + 1,
    )


def _problems() -> tuple[ProblemView, ...]:
    """A silent node each, and an alarm in ten."""
    silent = range(SILENT_EACH, NODES + 1, SILENT_EACH)
    return tuple(
        problem(
            at,
            "node_silent",
            f"gpu-{n}",
            "warning" if at % 10 else "alarm",
            f"gpu-{n} has not been heard for 63 s",
        )
        for at, n in enumerate(silent, 1)
    )


def large_accounts() -> Accounts:
    """Ten departments of nine teams, with a quota of each kind in turn."""
    departments = [f"department-{n}" for n in range(1, 11)]
    kinds: tuple[QuotaLimit, ...] = ("gpus", "power_w", "open_jobs", "kwh_per_day", "usd_per_month")
    accounts = [_account(name, None, 0.1) for name in departments]
    for n in range(1, TEAMS + 1):
        above = departments[(n - 1) * len(departments) // TEAMS]
        accounts.append(_account(f"team-{n}", above, 0.1 / 9))
    accounts.sort(key=lambda one: (one.parent or one.name, one.parent is not None))
    quotas = (
        QuotaView("account", f"team-{n}", kinds[n % 5], 1_000.0, 11.0 * n, None, n // 80, ())
        for n in range(1, TEAMS + 1)
    )
    return Accounts(tuple(accounts), 604_800.0, tuple(quotas))


def _account(name: str, parent: str | None, share: float) -> AccountView:
    used = share * (0.5 + len(name) % 3 / 2)
    return AccountView(name, parent, share, used, used / share, 12_345.6, 8_765.4, 800.0, 40, 17)


def large_services() -> Services:
    """120 services of up to 32 replicas, and routes in front of some."""
    kinds = services_now().services
    services = tuple(
        msgspec.structs.replace(
            kinds[n % len(kinds)],
            name=f"model-{n}",
            owner=f"user{n % 7}",
            revision=JobId(n),
            workers=tuple(
                WorkerView(f"{n}.{task}#1", f"gpu-{n + task}", "ready", task % 5, 0.02)
                for task in range(n % 33)
            ),
        )
        for n in range(1, SERVICES + 1)
    )
    routes = tuple(
        RouteView(f"front-{n}", "", tuple(f"model-{n + at}" for at in range(6)), ())
        for n in range(1, 11)
    )
    return Services(services, routes)


def large_reservations() -> Reservations:
    """Of 16 nodes each."""
    (course, _) = reservations_now().reservations
    return Reservations(
        tuple(
            msgspec.structs.replace(
                course,
                name=f"course-{n}",
                nodes=tuple(NodeId(f"gpu-{16 * n + at}") for at in range(16)),
                gpus=128,
                gpus_free=n,
                jobs=tuple(JobId(4 * at + 1) for at in range(n)),
            )
            for n in range(1, RESERVATIONS + 1)
        )
    )
