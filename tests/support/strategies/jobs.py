"""Random valid jobs, as a job file could give them."""

from datetime import UTC, datetime
from typing import Literal, get_args

from hypothesis import strategies as st

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import (
    MAX_HTTP_CAPACITY,
    METHODS,
    ArraySpec,
    CacheRule,
    CountRange,
    HttpServer,
    IdleRule,
    JobKind,
    JobSpec,
    Launch,
    Limits,
    Notify,
    PowerGoal,
    PowerSpec,
    Recovery,
    Resources,
    ServiceSpec,
    Slo,
    Windows,
)
from wattline_protocol.notify.receiver import ON
from wattline_protocol.text.moments import FIRST_YEAR, LAST_YEAR

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
SHOWN = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=8)
DURATIONS = st.integers(1, 10_000_000).map(lambda milliseconds: milliseconds / 1000)
AUTO: st.SearchStrategy[float | Literal["auto"]] = st.just("auto")
EVERY = AUTO | st.just(0.0) | DURATIONS
ENV = st.dictionaries(
    st.from_regex(r"[A-VX-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True).filter(
        lambda name: name != "CUDA_VISIBLE_DEVICES"
    ),
    WORDS,
    max_size=4,
)


PARENTS = st.lists(st.integers(1, 10**9).map(JobId), unique=True, max_size=3).map(tuple)


@st.composite
def arrays(draw: st.DrawFn) -> ArraySpec:
    indices = draw(
        st.sets(st.integers(0, 60) | st.integers(0, 10_000_000), min_size=1, max_size=20)
    )
    return ArraySpec(tuple(sorted(indices)), draw(st.integers(0, 100)))


@st.composite
def resources(draw: st.DrawFn, max_nodes: int, *, may_range: bool = False) -> Resources:
    gpus, least = draw(st.integers(0, 8)), draw(st.integers(1, max_nodes))
    more = draw(st.integers(0, 3)) if may_range else 0
    return Resources(
        nodes=CountRange(least, least + more) if more else least,
        gpus_per_node=gpus,
        gpu_type=tuple(draw(st.lists(SHOWN, max_size=3))) if gpus else (),
        gpu_memory_min_bytes=draw(st.integers(0, 1 << 40)) if gpus else 0,
        cpus_per_gpu=draw(st.integers(0, 64)) if gpus else 0,
        memory_bytes=draw(st.integers(0, 1 << 45)),
        same_rack=draw(st.booleans()),
        labels=draw(st.dictionaries(NAMES, NAMES, max_size=3)),
    )


AMOUNTS = st.just(0.0) | st.integers(1, 10**9).map(lambda thousandths: thousandths / 1000)


@st.composite
def limits(draw: st.DrawFn, *, has_gpus: bool) -> Limits:
    below = st.integers(1, 1000).map(lambda permille: permille / 1000)
    rules = st.builds(IdleRule, below, DURATIONS, st.sampled_from(["stop", "warn"]))
    return Limits(
        runtime_s=draw(st.just(0.0) | DURATIONS),
        energy_wh=draw(AMOUNTS),
        cost_usd=draw(AMOUNTS),
        idle_gpu=draw(st.none() | rules) if has_gpus else None,
    )


WINDOWS = st.sampled_from(["Mon", "Sat-Sun", "Mon-Fri 20:00-06:00", "Fri-Mon 23:59-00:00"])
MOMENTS = st.datetimes(
    datetime.fromisoformat(f"{FIRST_YEAR}-01-01"),
    datetime.fromisoformat(f"{LAST_YEAR}-12-31"),
    timezones=st.sampled_from([None, UTC]),
).map(lambda at: at.isoformat())


@st.composite
def windows(draw: st.DrawFn, *, has_deadline: bool) -> Windows:
    start_only = draw(st.lists(WINDOWS, max_size=3))
    return Windows(tuple(start_only), draw(st.just("") | MOMENTS) if has_deadline else "")


HTTP_SERVERS = st.builds(
    HttpServer,
    health=st.sampled_from(["/health", "/v1/models?a=1"]),
    methods=st.lists(st.sampled_from(METHODS), min_size=1, unique=True).map(tuple),
    capacity=st.integers(1, MAX_HTTP_CAPACITY),
)

ERRORS = st.sampled_from([0.000_001, 0.001, 0.5])


@st.composite
def services(draw: st.DrawFn) -> ServiceSpec:
    cache = draw(st.none() | st.builds(CacheRule, st.integers(1, 86_400), st.just(256 << 20)))
    entries = ["small", "other", "static:null", 'static:{"a": 1}', *(["cache"] if cache else [])]
    chain = draw(st.lists(st.sampled_from(entries), unique=True))
    http = draw(st.none() | HTTP_SERVERS)
    slo = draw(st.none() | st.builds(Slo, st.sampled_from([0.001, 0.2, 60.0]), ERRORS))
    least, more = draw(st.integers(1, 50)), draw(st.integers(0, 3)) if slo else 0
    idle_s = draw(st.sampled_from([0.0, 600.0])) if slo and chain else 0.0
    return ServiceSpec(
        CountRange(least, least + more) if more else least,
        cache,
        tuple(chain),
        http,
        slo=slo,
        idle_to_zero_s=idle_s,
    )


@st.composite
def powers(draw: st.DrawFn, *, has_gpus: bool, is_service: bool) -> PowerSpec:
    if not has_gpus:
        return PowerSpec()
    goals = st.sampled_from(("", *get_args(PowerGoal)))
    return PowerSpec(draw(st.integers(0, 1000)), goal="" if is_service else draw(goals))


@st.composite
def notifications(draw: st.DrawFn) -> Notify:
    to = draw(st.sampled_from(["", "ada+gpu@example.org", "https://[2001:db8::1]:8443/a?b=c"]))
    on = draw(st.sets(st.sampled_from(ON), min_size=1)) if to else {"end"}
    return Notify(to, tuple(word for word in ON if word in on))


@st.composite
def jobs(draw: st.DrawFn) -> JobSpec:
    """A valid job of any kind."""
    kind: JobKind = draw(st.sampled_from(["training", "batch", "service"]))
    is_service = kind == "service"
    array = None if is_service else draw(st.none() | arrays())
    needs = draw(resources(1 if is_service else 8, may_range=not is_service and array is None))
    torchrun = not is_service and needs.gpus_per_node > 0 and draw(st.booleans())
    program = draw(WORDS.filter(lambda word: word.strip() != ""))
    return JobSpec(
        name=draw(NAMES),
        command=(program, *draw(st.lists(WORDS, max_size=4))),
        kind=kind,
        queue=draw(NAMES),
        account=draw(st.just("") | NAMES),
        priority=draw(st.integers(0, 100)),
        array=array,
        workdir=draw(st.sampled_from(["", "/data/run 1", '/a"b'])),
        submit_dir=draw(st.sampled_from(["", "/data/run 2", '/a"b'])),
        resources=needs,
        power=draw(powers(has_gpus=needs.gpus_per_node > 0, is_service=is_service)),
        limits=draw(limits(has_gpus=needs.gpus_per_node > 0)),
        windows=draw(windows(has_deadline=not is_service)),
        recovery=Recovery(
            retries=draw(st.integers(0, 1000)),
            checkpoint_every_s=draw(EVERY),
            grace_s=draw(st.just(0.0) | DURATIONS),
            on_isolation=draw(st.sampled_from(["continue", "stop"])),
        ),
        launch=Launch("torchrun", draw(st.integers(0, 16))) if torchrun else Launch(),
        service=draw(services()) if is_service else None,
        env=draw(ENV),
        hold=draw(st.booleans()),
        after_ok=draw(PARENTS),
        after_any=draw(PARENTS),
        notify=draw(notifications()),
    )
