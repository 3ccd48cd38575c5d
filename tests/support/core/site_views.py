"""Fixed snapshots for screens and renderers: a small site at work."""

import msgspec

from wattline_protocol.ids import (
    AttemptNo,
    DomainId,
    Epoch,
    GpuIndex,
    JobId,
    NodeId,
    TaskNo,
    UnixTime,
)
from wattline_protocol.views.account_views import AccountView, QuotaView
from wattline_protocol.views.host_view import HostView, ProcessView
from wattline_protocol.views.part_view import PartView
from wattline_protocol.views.queue_views import QueuedView
from wattline_protocol.views.site_views import (
    AttemptView,
    DomainView,
    EventView,
    GpuView,
    JobState,
    JobView,
    LimitView,
    NodeView,
    SiteView,
)
from wattline_protocol.wire.agent_messages import TaskExit, TaskUsage
from wattline_protocol.wire.agents.host_load import HostLoad, LinkLoad
from wattline_protocol.wire.client_messages import Accounts
from wattline_protocol.wire.mig import MigView
from wattline_protocol.wire.problems import ProblemView, Severity
from wattline_protocol.wire.reservations import Reservations, ReservationView
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_protocol.wire.task_reports.run_records import Curve, Point, RunReport

NOON = UnixTime(1_780_000_000.0)


def gpu(index: int, power_w: float, *, cap_w: float = 700.0, job: int | None = 1) -> GpuView:
    capped = power_w >= cap_w - 5
    return GpuView(
        index=GpuIndex(index),
        name="NVIDIA H100 80GB HBM3",
        power_w=power_w,
        cap_w=cap_w,
        cap_min_w=200.0,
        cap_max_w=700.0,
        temp_c=int(30 + power_w / 14),
        temp_limit_c=87,
        util_pct=97 if power_w > 150 else 0,
        sm_clock_mhz=1410 if capped else 1980,
        memory_used_bytes=40 << 30,
        memory_bytes=80 << 30,
        reasons=0x4 if capped else 0x1 if power_w < 100 else 0,
        is_idle=power_w < 100,
        can_cap=True,
        healthy=True,
        job=JobId(job) if job and power_w >= 100 else None,
    )


def lost(gpu: GpuView) -> GpuView:
    """It has no reading, and still its job."""
    readings = dict.fromkeys(("power_w", "cap_w", "temp_c", "util_pct", "sm_clock_mhz"))
    unread = msgspec.structs.replace(gpu, **readings, memory_used_bytes=None, reasons=0)
    return msgspec.structs.replace(unread, healthy=False)


def node(number: int, powers: tuple[float, ...], *, cap_w: float = 430.0) -> NodeView:
    draw_w = (sum(powers) + 1900) / 0.94
    gpus = tuple(gpu(i, p, cap_w=cap_w) for i, p in enumerate(powers))
    return NodeView(
        id=NodeId(f"gpu-{number:02d}"),
        rack=f"r{(number + 1) // 2}",
        state="ok",
        reason="",
        lease_w=draw_w + 300,
        committed_w=draw_w + 300,
        measured_w=draw_w,
        estimated_w=draw_w,
        floor_w=3_800.0,
        inlet_c=23.5,
        cpu_pct=31.0,
        heard_ago_s=0.4,
        simulated=True,
        problems=(),
        gpus=gpus,
        tasks=("1.0#1 resnet-ablation",),
        inputs=(DomainId(f"rack-r{(number + 1) // 2}"),),
        cooling_zone=DomainId("room"),
        gpu_count=len(gpus),
        gpus_busy=sum(one.job is not None for one in gpus),
        gpu_models=tuple({one.name for one in gpus}),
    )


def host_now() -> HostView:
    """A host of 128 processors whose disk is nearly full, with one task."""
    link = LinkLoad("ib0", received_bytes_s=2.25e9, sent_bytes_s=30e6, speed_bytes_s=25e9)
    load = HostLoad(disk_bytes=4 << 40, disk_used_bytes=int(3.7 * 2**40), disk_busy=0.1, link=link)
    gpus = tuple(map(GpuIndex, range(8)))
    task = ProcessView(JobId(1), "1.0#1", "resnet-ablation", "ada", gpus, 4711)
    return HostView(128, 31.0, 2 << 40, 812 << 30, load, (task,))


def run_report(*, begun_s: float = NOON - 600, steps: int = 30) -> RunReport:
    """Ten minutes of training: a loss that falls, a rate, two checkpoints."""
    step_s = 600 / steps
    loss, rate = (
        Curve(
            name,
            steps,
            min(values),
            max(values),
            tuple(
                Point(100.0 * at, value, begun_s + at * step_s) for at, value in enumerate(values)
            ),
        )
        for name, values in (
            ("loss", [3.2 / (1 + at / 5) for at in range(steps)]),
            ("samples_per_s", [410.0 - 8 * (at % 5) for at in range(steps)]),
        )
    )
    saves = tuple(
        SavedCheckpoint(step, 7 << 30, 41.0, UnixTime(begun_s + step * step_s / 100))
        for step in (1_000, 2_000)
    )
    return RunReport(curves=(loss, rate), checkpoints=saves)


def domain(
    name: str, kind: str, parent: str | None, watts: tuple[float, float, float]
) -> DomainView:
    measured_w, committed_w, budget_w = watts
    return DomainView(
        id=DomainId(name),
        kind="power" if kind == "power" else "cooling",
        parent=DomainId(parent) if parent else None,
        rating_w=budget_w / 0.8,
        budget_w=budget_w,
        full_budget_w=budget_w,
        committed_w=committed_w,
        reserved_w=0.0,
        measured_w=measured_w,
        headroom_w=budget_w - committed_w,
        over_since_unix_s=None,
    )


def shed_limit(**changes: object) -> LimitView:
    """A quarter of the site's budget, shed by ops until restored."""
    view = LimitView(
        domain=DomainId("site"),
        name="shed",
        source="operator",
        phase="in_force",
        value_w=16_500.0,
        now_w=16_500.0,
        is_binding=True,
        start_unix_s=UnixTime(NOON - 60),
        ramp_s=0.0,
        end_unix_s=None,
        release_s=0.0,
        requester="ops",
        why="grid event 4711",
    )
    return msgspec.structs.replace(view, **changes)


def job(number: int, name: str, state: JobState, **changes: object) -> JobView:
    view = JobView(
        id=JobId(number),
        name=name,
        kind="training",
        owner="ada",
        account="vision",
        queue="default",
        priority=50,
        state=state,
        reason="",
        submitted_unix_s=UnixTime(NOON - 700),
        started_unix_s=UnixTime(NOON - 600) if state != "PENDING" else None,
        ended_unix_s=UnixTime(NOON - 60) if state == "COMPLETED" else None,
        gangs=1,
        gangs_running=1 if state == "RUNNING" else 0,
        gangs_ended=0,
        gpus=8,
        nodes=(NodeId("gpu-01"), NodeId("gpu-02")) if state == "RUNNING" else (),
        attempt_count=1,
        gpu_hours=2.67,
        energy_kwh=1.42,
        cost_usd=5.51,
        utilisation=0.93,
        cap_bound_gpu_s=4310.0,
        verdict="capped",
        exit_code=None,
        metrics={"accuracy": 0.963, "epoch": 12},
        ran_s=540.0 if state == "COMPLETED" else 0.0,
        running_since_unix_s=UnixTime(NOON - 600) if state == "RUNNING" else None,
    )
    return msgspec.structs.replace(view, **changes)


def event(seq: int, text: str, level: str = "info") -> EventView:
    return EventView(
        seq=seq,
        unix_s=UnixTime(NOON - 60 + seq),
        kind="note",
        actor="scheduler",
        text=text,
        level="alarm" if level == "alarm" else "warning" if level == "warning" else "info",
    )


def problem(number: int, kind: str, subject: str, severity: Severity, text: str) -> ProblemView:
    since = UnixTime(NOON - 90 + number)
    return ProblemView(number, kind, subject, severity, since, None, text)


def attempt(task: int, state: JobState, exit: TaskExit | None = None) -> AttemptView:  # noqa: A002
    return AttemptView(
        task=TaskNo(task),
        attempt=AttemptNo(1),
        state=state,
        node=NodeId(f"gpu-{task + 1:02d}"),
        gpus=tuple(GpuIndex(i) for i in range(8)),
        started_unix_s=UnixTime(NOON - 600),
        usage=TaskUsage(run_s=600, gpu_s=4800, node_energy_mj=2_550_000_000),
        exit=exit,
    )


def busy_site() -> SiteView:
    """Two racks, four nodes: one job capped, one waiting for watts, one done."""
    hot, idle = (425.0,) * 8, (72.0,) * 8
    mixed = (430.0, 430.0, 428.0, 390.0, 72.0, 71.0, 610.0, 655.0)
    return SiteView(
        site="demo",
        epoch=Epoch(2),
        unix_s=NOON,
        simulated=True,
        domains=(
            domain("site", "power", None, (19_800, 21_300, 22_000)),
            domain("rack-r1", "power", "site", (11_300, 11_900, 12_000)),
            domain("rack-r2", "power", "site", (8_500, 9_400, 12_000)),
            domain("room", "cooling", None, (19_800, 21_300, 24_000)),
        ),
        nodes=(
            node(1, hot),
            node(2, hot),
            node(3, mixed),
            msgspec.structs.replace(node(4, idle), state="draining", reason="fan swap", tasks=()),
        ),
        jobs=(
            job(1, "resnet-ablation", "RUNNING"),
            job(2, "sweep", "RUNNING", kind="batch", gangs=16, gangs_running=6, gpus=6),
            job(3, "llm-large", "PENDING", reason="watts: 2.1 kW missing in rack-r2", gpus=16),
            job(4, "digits", "COMPLETED", reason="exit 0", verdict="compute-bound"),
        ),
        events=(
            event(1, "node gpu-03 said Hello, incarnation 4"),
            event(2, "job 2 (sweep) submitted by ada"),
            event(3, "node gpu-04 drains: fan swap", "warning"),
            event(4, "budget of site lowered by 25 % by ops", "warning"),
        ),
        refused_messages=0,
        queue=(QueuedView(JobId(3), UnixTime(NOON + 900)),),
    )


def shared_site() -> SiteView:
    """The busy site; on its third node a GPU is shared, and one is divided."""
    site = busy_site()
    node = site.nodes[2]
    parts = (PartView(JobId(1), 500), PartView(JobId(2), 250))
    shared = msgspec.structs.replace(node.gpus[0], parts=parts, others=(JobId(2),))
    devices = (
        MigView("MIG-1", "3g.40gb", 40 << 30, JobId(2)),
        MigView("MIG-2", "3g.40gb", 40 << 30, None),
    )
    divided = msgspec.structs.replace(node.gpus[1], mig=devices, job=JobId(2), util_pct=None)
    node = msgspec.structs.replace(node, gpus=(shared, divided, *node.gpus[2:]))
    return msgspec.structs.replace(site, nodes=(*site.nodes[:2], node, site.nodes[3]))


def accounts_now() -> Accounts:
    """A department with two groups and a user of their own; quotas of which one is used up."""

    def account(
        name: str, parent: str | None, share: float, used: float, *counts: float
    ) -> AccountView:
        hours, kwh, gpus, running, queued = counts
        of = (hours, kwh, gpus, int(running), int(queued))
        return AccountView(name, parent, share, used, used / share, *of)

    return Accounts(
        accounts=(
            account("grace", None, 0.2, 0.04, 12.5, 8.1, 0.5, 1, 0),
            account("research", None, 0.8, 0.96, 2.0, 1.4, 0.0, 0, 0),
            account("vision", "research", 0.5, 0.41, 141.3, 92.6, 16, 2, 1),
            account("language", "research", 0.3, 0.55, 190.2, 121.0, 6, 1, 12),
        ),
        half_life_s=604_800.0,
        quotas=(
            QuotaView("queue", "night", "gpus", 8.0, 6.428, None, 1, (JobId(3),)),
            QuotaView("account", "research", "power_w", 20_000.0, 11_520.0),
            QuotaView(
                "account",
                "language",
                "kwh_per_day",
                60.0,
                60.2,
                UnixTime(NOON + 36_000),
                12,
                tuple(JobId(n) for n in (5, 7, 8, 11, 12)),
            ),
            QuotaView("account", "research", "usd_per_month", 5_000.0, 1_812.5, NOON),
        ),
    )


def reservations_now() -> Reservations:
    """A course that has begun beside a job that was there, and a maintenance to come."""
    course = ReservationView(
        name="course",
        state="active",
        start_unix_s=UnixTime(NOON - 1_800),
        end_unix_s=UnixTime(NOON + 5_400),
        start="20:10",
        end="22:10",
        accounts=("vision", "language"),
        users=("ada",),
        nodes=(NodeId("gpu-01"), NodeId("gpu-02")),
        gpus=16,
        gpus_free=3,
        jobs=tuple(JobId(number) for number in (1, 2, 5, 8)),
        others=(JobId(4),),
        requester="olga",
        why="summer school, room 3",
    )
    maintenance = msgspec.structs.replace(
        course,
        name="new-fans",
        state="planned",
        start_unix_s=UnixTime(NOON + 86_400),
        end_unix_s=UnixTime(NOON + 100_800),
        accounts=(),
        users=(),
        nodes=(NodeId("gpu-04"),),
        gpus=8,
        gpus_free=8,
        jobs=(),
        others=(),
        why="",
    )
    return Reservations((course, maintenance))


def troubled_site() -> SiteView:
    """The same site in a shed that floors cannot meet, with a lost GPU and a silent node."""
    site = busy_site()
    over = msgspec.structs.replace(
        site.domains[0], budget_w=16_500.0, limits=(shed_limit(),), headroom_w=-4_800.0
    )
    hot = msgspec.structs.replace(site.nodes[0].gpus[5], temp_c=89, reasons=0x40)
    before, gone, beside, _, *others = site.nodes[0].gpus[2:]
    gpus = (*site.nodes[0].gpus[:2], before, lost(gone), beside, hot, *others)
    sick = msgspec.structs.replace(site.nodes[0], gpus=gpus, problems=("GPU 3 is lost (XID 79)",))
    silent = msgspec.structs.replace(
        site.nodes[1], state="silent", measured_w=None, heard_ago_s=42.0
    )
    return msgspec.structs.replace(
        site,
        domains=(over, *site.domains[1:]),
        nodes=(sick, silent, *site.nodes[2:]),
        events=(*site.events, event(5, "GPU 3 of gpu-01 is lost (XID 79)", "alarm")),
        problems=(
            problem(5, "meter_stale", "site", "alarm", "the meter of site gives no value for 12 s"),
            problem(6, "gpu_lost", "gpu-01 GPU 3", "warning", "GPU 3 of gpu-01 is lost (XID 79)"),
        ),
        open_alarms=1,
        open_warnings=1,
    )


def empty_site() -> SiteView:
    """A site just made: no node heard, no job."""
    site = busy_site()
    unused = {"measured_w": 0.0, "committed_w": 0.0}
    domains = tuple(
        msgspec.structs.replace(one, headroom_w=one.budget_w, **unused) for one in site.domains
    )
    return msgspec.structs.replace(
        site, domains=domains, nodes=(), jobs=(), queue=(), events=(), simulated=False
    )
