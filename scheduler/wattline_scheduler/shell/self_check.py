"""`scheduler --check`: whether a scheduler could start here, and what the site file would change.

Read-only, also beside a running scheduler: it listens nowhere and works on a copy of the store.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from functools import cache, partial
from pathlib import Path

from wattline_protocol.ids import JobId, Now
from wattline_protocol.site.checks import site_warnings
from wattline_protocol.site.model import Site
from wattline_protocol.text.checklist import Check, print_checks
from wattline_protocol.text.quantities import format_power
from wattline_protocol.text.wording import counted, listed, named
from wattline_protocol.trust.keys import KeyFileError, load_keys
from wattline_protocol.trust.members import AUTHORIZED, SCHEDULER_KEY, Authorized
from wattline_scheduler.core.admission.quota_checks import never_fits
from wattline_scheduler.core.admission.reservation_fit import never_inside
from wattline_scheduler.core.admission.satisfiability import impossible
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.model.jobs.job import Job, Pending
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.recovery import SiteMismatch, lasting
from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.http_api.exchange import ApiUnusable, token_of
from wattline_scheduler.shell.run import SiteUnusable, read_clock, read_site
from wattline_scheduler.shell.webhooks.webhook import check_secrets
from wattline_scheduler.store.errors import StoreError
from wattline_scheduler.store.file import private_copy
from wattline_scheduler.store.marker import (
    MARKER_NAME,
    check_commits,
    check_files,
    mark_of,
    read_mark,
)
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.verify import DB_NAME

"""Members named in one line."""


def print_check(config: SchedulerConfig) -> int:
    """Print the checks. Returns 0 unless a start would fail."""
    return print_checks(tuple(run_checks(config)), is_json=config.log_json)


def run_checks(config: SchedulerConfig) -> Iterator[Check]:
    """All checks in the order of a start."""
    try:
        site = read_site(config.site_dir)
    except SiteUnusable as error:
        yield Check("site file", "failed", str(error))
        return
    yield Check("site file", "ok", _site_text(site))
    for warning in site_warnings(site):
        yield Check("site file", "warning", warning)
    yield _key(config.site_dir)
    yield from _members(config.site_dir, site)
    yield from _secrets(site)
    yield from _data_store(site)
    yield from _state(config, site)


def _site_text(site: Site) -> str:
    tops = [d for d in site.domains if d.kind == "power" and d.parent is None]
    budgets = ", ".join(f"{domain.id} {format_power(domain.budget_mw)}" for domain in tops)
    return f"{site.name}: {counted(len(site.nodes), 'node')} below {budgets}"


def _key(site_dir: Path) -> Check:
    try:
        load_keys(site_dir / SCHEDULER_KEY)
    except KeyFileError as error:
        return Check("scheduler key", "failed", str(error))
    return Check("scheduler key", "ok", "readable, by its user only")


def _members(site_dir: Path, site: Site) -> Iterator[Check]:
    try:
        known = Authorized(site_dir / AUTHORIZED, site.roles)
    except KeyFileError as error:
        yield Check("members", "failed", str(error))
        return
    for problem in known.problems:
        yield Check("members", "warning", problem, "this file enrols no member")
    agents = {member.name for member in known.members() if member.role == "agent"}
    yield Check("members", "ok", f"agents: {len(agents)}, people: {len(known.users())}")
    missing = [node.id for node in site.nodes if node.id not in agents]
    if missing:
        remedy = f"wattline enroll {missing[0]} --role agent; until then it counts at its nameplate"
        yield Check("members", "warning", f"not enrolled: {listed(missing)}", remedy)
    strangers = sorted(agents - {node.id for node in site.nodes})
    if strangers:
        some = listed(strangers)
        found = f"agents enrolled whose node is not in the site file: {some}"
        yield Check("members", "warning", found, "they are refused; put the nodes in the site file")
    unknown = sorted(set(site.roles) - {member.name for member in known.members()})
    if unknown:
        some = listed(unknown)
        yield Check("members", "warning", f"[roles] names members that are not enrolled: {some}")


def _secrets(site: Site) -> Iterator[Check]:
    try:
        check_secrets(site)
        if site.http is not None:
            token_of(site.http)
    except (KeyFileError, ApiUnusable) as error:
        yield Check("secrets", "failed", str(error))
        return
    if site.webhooks or site.http is not None:
        yield Check("secrets", "ok", "secrets of webhooks and the HTTP API are readable")


def _data_store(site: Site) -> Iterator[Check]:
    """A local store is read by clients and nodes: it may be mounted there alone."""
    if not site.data.store.startswith("/"):
        return
    found = Path(site.data.store)
    if found.is_dir():
        yield Check("data store", "ok", f"{found} is a directory")
        return
    what = "is no directory" if found.exists() else "is not there"
    text = f"[data] store {found} {what} on this host"
    yield Check("data store", "warning", text, "make it, or mount its file system, on all nodes")


def _no_store(path: Path, config: SchedulerConfig) -> Iterator[Check]:
    try:
        if not config.recover:
            check_files(path, read_mark(path.with_name(MARKER_NAME)))
    except StoreError as error:
        yield Check("state", "failed", str(error))
        return
    yield Check("state", "ok", f"{path} does not exist: it starts empty")


def _state(config: SchedulerConfig, site: Site) -> Iterator[Check]:
    path = config.state_dir / DB_NAME
    try:
        is_there = path.exists()
    except OSError as error:
        yield Check(
            "state", "failed", f"{error.strerror}: {path}", "run it as the scheduler's user"
        )
        return
    if not is_there:
        yield from _no_store(path, config)
        return
    now = read_clock()
    try:
        mark = None if config.recover else read_mark(path.with_name(MARKER_NAME))
        with closing(private_copy(path)) as copy:
            if not config.recover:
                check_commits(path, mark_of(copy), mark)
            _, saved = Store.over(
                copy,
                now_unix_s=now.unix_s,
                instance="check",
                recover=config.recover,
                lasting=lasting(site),
            )
            state = Cluster(site, saved, now).state
    except (StoreError, SiteMismatch) as error:
        yield Check("state", "failed", str(error))
        return
    jobs = [job for job in state.work.jobs.values() if not job.is_ended]
    yield Check("state", "ok", f"open jobs: {len(jobs)}, tasks on nodes: {len(state.work.live)}")
    yield from _stuck(state, jobs, now)


def _stuck(state: State, jobs: list[Job], now: Now) -> Iterator[Check]:
    """Pending jobs that would never start with this site file."""
    judge = cache(partial(never_fits, state, now=now))
    by_reason: dict[str, list[JobId]] = defaultdict(list)
    for job in jobs:
        if any(isinstance(gang.phase, Pending) for gang in job.gangs):
            reason = "" if job.barred is None else job.barred[1]
            reason = reason or judge(job.account, job.spec.queue, job.shape)
            reason = reason or impossible(state, job.spec, now)
            reason = reason or never_inside(state, job.record.owner, job.spec, now)
            if reason:
                by_reason[reason].append(job.id)
    for reason, numbers in by_reason.items():
        yield Check("jobs", "warning", f"{named('job', numbers)} would not start", reason)
