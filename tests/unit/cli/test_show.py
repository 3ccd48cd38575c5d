"""Renderers over fixed views: what stands where, what gives way on a narrow terminal."""

import io

import msgspec
import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from support.core.list_pages import asked_of, csv_of, page_of
from support.core.site_views import NOON, attempt, busy_site, domain, event, job, troubled_site
from support.programs.time_zone import local_time
from wattline.acts.site import MadeSite
from wattline.acts.submit import Submission, exit_status
from wattline.failures import ActFailed
from wattline.lists.layout import listing
from wattline.show import accounts, events, jobs, nodes, power, report
from wattline.show import job as job_detail
from wattline.show.site import made
from wattline.show.tables import Column, Listing, facts
from wattline_protocol.ids import DomainId, JobId, UnixTime
from wattline_protocol.job.file import merged_job
from wattline_protocol.job.spec import JobSpec, Recovery
from wattline_protocol.lists.domain_table import tree
from wattline_protocol.lists.fit import fitting
from wattline_protocol.lists.node_table import draw
from wattline_protocol.views.account_views import AccountView, QuotaView
from wattline_protocol.views.cache_view import CacheView
from wattline_protocol.views.host_view import HostView
from wattline_protocol.views.report_views import DomainPeak, GroupTotals, ReportView
from wattline_protocol.views.site_views import ExplainView, FilterRefusal, JobState
from wattline_protocol.views.training_views import CheckpointView
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.agents.host_load import HostLoad, LinkLoad
from wattline_protocol.wire.client_messages import Accounts
from wattline_protocol.wire.mig import MigView
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint


def text_of(thing: RenderableType, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(thing, highlight=False, markup=False)
    return captured.get()


def rows_of(thing: RenderableType, width: int = 200) -> list[str]:
    return [line.rstrip() for line in text_of(thing, width).splitlines()]


def test_jobs_show_where_they_run_and_why_they_wait() -> None:
    header, *rows = rows_of(page_of(jobs.LIST, busy_site().jobs))
    assert header.split()[:4] == ["JOB", "NAME", "KIND", "USER"]
    assert rows[0].endswith("gpu-01, gpu-02")
    assert "6+0/16" in rows[1]
    assert rows[2].endswith("watts: 2.1 kW missing in rack-r2")


def test_cells_are_as_wide_as_they_look_and_on_one_line() -> None:
    """Characters of two columns, marks that a terminal would act on, and styles."""
    left = Column("LEFT", ["宽宽宽宽", "a\x1b[31m\nb", Text("bold", "bold")])
    prose = Column("PROSE", ["", "[0-3] failed", "x" * 60], grows=True)
    right = Column("RIGHT", ["1", Text("22"), "333"], is_right=True)
    assert rows_of(Listing((left, right, prose), ""), 43) == [
        "LEFT      RIGHT  PROSE",
        "宽宽宽宽      1",
        "a␛[31m b     22  [0-3] failed",
        "bold        333  " + "x" * 25 + "…",
    ]


def test_facts_keep_their_lines_and_nothing_that_a_terminal_would_act_on() -> None:
    assert rows_of(facts([("tasks", "1.0\n1.1"), ("why", "no such \x1b[31mcommand [0-3]")])) == [
        "tasks  1.0",
        "       1.1",
        "why    no such ␛[31mcommand [0-3]",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_listing_never_wraps(width: int) -> None:
    """What does not fit is named."""
    site = troubled_site()
    lists = ((jobs.LIST, site.jobs), (nodes.LIST, site.nodes), (power.LIST, site.domains))
    for of, rows in lists:
        asked = asked_of(of)
        lines = rows_of(listing(asked, list(rows)), width)
        assert all(len(line) <= width for line in lines)
        note = " ".join(lines[len(rows) + 1 :]).removesuffix("--wide shows all.")
        left_out, _, cut = note.removeprefix("Not shown at this width: ").partition("Cut at …: ")
        named = [title for title in left_out.strip().rstrip(".").split(", ") if title]
        header = lines[0].split()
        absent = [c.heading for c in asked.columns if c.heading.split()[0] not in header]
        assert named == absent if width >= 80 else set(named) <= set(absent)
        if width >= 80:
            assert bool(cut) == any("…" in line for line in lines[: len(rows) + 1])


def test_what_matters_stays_on_a_narrow_terminal() -> None:
    header = rows_of(page_of(jobs.LIST, busy_site().jobs), 60)[0]
    assert {"JOB", "NAME", "STATE", "REASON"} <= set(header.split())
    assert "QUEUE" not in header


def test_heaviest_columns_go_first() -> None:
    columns = [
        Column("A", ["x" * 10]),
        Column("B", ["x" * 10], weight=2),
        Column("C", ["x"], weight=1),
    ]
    assert [c.title for c in fitting(columns, 30)] == ["A", "B", "C"]
    assert [c.title for c in fitting(columns, 15)] == ["A", "C"]
    assert [c.title for c in fitting(columns, 3)] == ["A"]


def test_empty_listing_says_so() -> None:
    assert rows_of(page_of(jobs.LIST, ())) == ["No jobs."]


def test_text_of_people_is_never_markup() -> None:
    shown = text_of(page_of(jobs.LIST, (job(1, "[red]x[/red]", "PENDING", reason="[bold]why"),)))
    assert "[red]x[/red]" in shown
    assert "[bold]why" in shown


def test_domains_are_indented_below_their_parents() -> None:
    children = [
        domain("rack-2", "power", "site", (1, 2, 3)),
        domain("site", "power", None, (1, 2, 3)),
    ]
    assert [(depth, d.id) for depth, d in tree(children)] == [(0, "site"), (1, "rack-2")]


def test_domain_above_its_budget_says_by_how_much() -> None:
    over = msgspec.structs.replace(
        troubled_site().domains[0], over_since_unix_s=UnixTime(1_780_000_000.0)
    )
    shown = text_of(page_of(power.LIST, (over,)))
    assert "4.8 kW over since" in shown
    assert "-4.8 kW" in shown


def test_node_shows_what_holds_its_gpus_back() -> None:
    site = troubled_site()
    shown = text_of(nodes.detail(site.nodes[0]))
    assert "GPU 3 is lost (XID 79)" in shown
    assert "not healthy" in shown
    assert "HW thermal" in shown


@pytest.mark.parametrize(
    ("step", "behind", "why", "shown"),
    [
        (12_400, 2, "no route", "; step 12400 stored, 2 behind: no route"),
        (12_500, 0, "", "; step 12500 stored"),
        (None, 1, "the server refuses these keys", "; none stored, 1 behind: the server refuses"),
        (None, 0, "", "1.2 s"),
    ],
    ids=["behind", "all", "none", "not kept"],
)
def test_a_job_shows_what_the_store_has_of_its_checkpoints(
    step: int | None, behind: int, why: str, shown: str
) -> None:
    stored = None if step is None else StoredCheckpoint(1, 3, 1, step, "5" * 64, 2048, NOON)
    newest = CheckpointView(12_500, NOON, 2048, 1.2, 0.0, behind=behind, behind_why=why)
    view = msgspec.structs.replace(
        job(7, "train", "RUNNING"), checkpoint=msgspec.structs.replace(newest, stored=stored)
    )
    (line,) = [row for row in rows_of(job_detail.detail(view)) if "step 12500, " in row]
    assert shown in line
    assert line.endswith(shown) or why


def test_node_shows_its_host() -> None:
    node, link = troubled_site().nodes[0], LinkLoad("ib0", 2.25e9, 0.0)
    load = HostLoad(disk_bytes=4 << 40, disk_used_bytes=3 << 40, link=link)
    host = HostView(128, 41.4, 2 << 40, 812 << 30, load)
    shown = text_of(nodes.detail(msgspec.structs.replace(node, host=host)))
    for text in ("41 % of 128", "812 GiB of 2 TiB", "75 % of 4 TiB", "ib0 18 Gb/s in, 0 b/s out"):
        assert text in shown
    assert "network" not in text_of(nodes.detail(node))


def test_node_shows_how_far_a_gpu_is_from_its_slowdown() -> None:
    node = troubled_site().nodes[0]
    gpus = tuple(msgspec.structs.replace(one, temp_c=60, temp_limit_c=87) for one in node.gpus)
    assert "60 °C, 27 below" in text_of(nodes.detail(msgspec.structs.replace(node, gpus=gpus)))


def test_node_shows_its_cache_of_data_sets() -> None:
    node, gib = troubled_site().nodes[0], 1 << 30
    cache = CacheView(
        *(100 * gib, 30 * gib, 12), fetching=2, waiting=1, fetched_bytes=41, fetches_bytes=100
    )
    shown = text_of(nodes.detail(msgspec.structs.replace(node, cache=cache)))
    assert "30 GiB of 100 GiB, 12 versions, 2 fetches: 41 %, 1 waiting" in shown
    gone = msgspec.structs.replace(cache, error="no cache at /c: Read-only file system")
    assert gone.error in text_of(nodes.detail(msgspec.structs.replace(node, cache=gone)))
    assert "data cache" not in text_of(nodes.detail(node))


def test_node_shows_its_labels_and_who_has_each_mig_device() -> None:
    node = troubled_site().nodes[0]
    taken = MigView("MIG-1", "3g.40gb", 40 << 30, JobId(17))
    free = MigView("MIG-2", "1g.10gb", 10 << 30, None)
    divided = msgspec.structs.replace(node.gpus[0], mig=(taken, free))
    empty = msgspec.structs.replace(node.gpus[1], mig=())
    gpus = (divided, empty, *node.gpus[2:])
    shown = msgspec.structs.replace(node, gpus=gpus, labels={"fabric": "ib", "disk": "nvme"})
    text = text_of(nodes.detail(shown))
    assert "disk=nvme, fabric=ib" in text
    assert "3g.40gb 17, 1g.10gb –" in text
    assert "no MIG devices" in text


def test_jobs_on_mig_devices_say_so() -> None:
    view = msgspec.structs.replace(job(7, "part", "RUNNING"), gpus=1, mig="3g.40gb")
    assert view.gpu_count == "3g.40gb"
    assert msgspec.structs.replace(view, gpus=4).gpu_count == "4 x 3g.40gb"


@pytest.mark.parametrize(
    ("state", "started_s", "ran_s", "since_s", "elapsed_s"),
    [
        ("RUNNING", 100.0, 0.0, 100.0, 50.0),
        ("RUNNING", 100.0, 7.0, 140.0, 17.0),
        ("COMPLETED", 100.0, 10.0, None, 10.0),
        ("PENDING", 100.0, 7.0, None, 7.0),
        ("PENDING", None, 0.0, None, None),
        ("CANCELLED", None, 0.0, None, None),
    ],
)
def test_elapsed_is_the_time_in_which_it_ran(
    state: JobState,
    started_s: float | None,
    ran_s: float,
    since_s: float | None,
    elapsed_s: float | None,
) -> None:
    shown = msgspec.structs.replace(
        job(7, "part", state),
        started_unix_s=started_s,
        ran_s=ran_s,
        running_since_unix_s=since_s,
    )
    assert shown.elapsed_s(150.0) == elapsed_s


def test_estimates_are_marked() -> None:
    silent = troubled_site().nodes[1]
    assert draw(silent).startswith("~")


def test_failed_attempt_shows_its_end_and_its_log() -> None:
    end = TaskExit(kind="exited", code=3, log_tail="Traceback\nValueError: no such file\n")
    view = job(7, "broken", "FAILED", attempts=(attempt(0, "FAILED", end),))
    shown = text_of(job_detail.detail(view))
    assert "exit code 3" in shown
    assert "ValueError: no such file" in shown


@pytest.mark.parametrize(("state", "is_shown"), [("PENDING", False), ("CANCELLED", True)])
def test_a_stopped_attempt_shows_its_log_once_its_job_has_ended(
    state: JobState, is_shown: bool
) -> None:
    end = TaskExit(kind="exited", code=1, log_tail="SignalException: got signal: 15\n")
    view = job(7, "requeued", state, attempts=(attempt(0, "CANCELLED", end),))
    assert ("Last lines" in text_of(job_detail.detail(view))) == is_shown


def test_a_grace_that_the_site_cuts_is_shown_beside_what_was_asked_for() -> None:
    spec = JobSpec("train", ("run",), recovery=Recovery(grace_s=7_200.0))
    plain = msgspec.structs.replace(job(7, "train", "RUNNING"), spec=spec)
    assert "max_grace" not in text_of(job_detail.detail(plain))
    shown = text_of(job_detail.detail(msgspec.structs.replace(plain, grace_s=60.0)))
    assert "grace 2h" in shown
    assert "1m, the site's max_grace is lower than requested" in shown


def test_attempts_of_an_array_say_by_which_index_people_name_them() -> None:
    tries = (attempt(0, "COMPLETED"), attempt(3, "RUNNING"))
    alone = job(7, "sweep", "RUNNING", attempts=tries)
    assert "INDEX" not in text_of(job_detail.detail(alone))
    resources = {"nodes": 2}
    spec = {"name": "sweep", "command": ["x"], "array": {"indices": [5, 9]}, "resources": resources}
    array = msgspec.structs.replace(alone, spec=msgspec.convert(spec, JobSpec))
    rows = text_of(job_detail.detail(array)).split("TASK  INDEX")[1].splitlines()
    assert [row.split()[:2] for row in rows[1:3]] == [["0", "5"], ["3", "9"]]


def test_a_job_tells_when_it_is_expected_to_end_and_how_that_is_known() -> None:
    view = job(1, "train", "RUNNING")
    assert "expected end" not in text_of(job_detail.detail(view))
    known = msgspec.structs.replace(
        view, expected_end_unix_s=UnixTime(NOON + 3_600.0), expected_end_why="by its limit"
    )
    with local_time("UTC"):
        (row,) = [r for r in rows_of(job_detail.detail(known)) if r.startswith("expected end")]
    assert row.endswith("2026-05-28 21:26:40, by its limit")


def test_a_job_shows_what_it_asked_for_as_its_job_file_has_it() -> None:
    document = {
        "command": ["x"],
        "array": "0-5%2",
        "after_ok": [3],
        "env": {"TOKEN": "s3cret"},
        "resources": {"nodes": 2, "same_rack": True, "labels": {"fabric": "ib"}},
        "limits": {"runtime": "3h", "idle_gpu": {"below": 0.05, "for": "30m", "action": "stop"}},
        "windows": {"start_only": ["Sat-Sun", "Mon 01:00-02:00"]},
    }
    view = msgspec.structs.replace(job(7, "sweep", "RUNNING"), spec=merged_job(document, {}))
    facts = dict(row.split(maxsplit=1) for row in rows_of(job_detail.detail(view)) if row)
    assert facts["array"] == "0-5%2"
    assert facts["after_ok"] == "3"
    assert facts["resources"] == "nodes 2, same_rack true, labels fabric=ib"
    assert facts["limits"] == "runtime 3h, idle_gpu below=0.05,for=30m,action=stop"
    assert facts["windows"] == "start_only Sat-Sun,Mon 01:00-02:00"
    assert "s3cret" not in str(facts)


def test_explanation_names_every_filter() -> None:
    why = ExplainView(
        job=JobId(3),
        state="PENDING",
        reason="waits for watts",
        nodes_total=4,
        nodes_feasible=1,
        nodes_needed=2,
        refusals=(FilterRefusal("watts", 3, "2.1 kW in rack-r2"),),
    )
    shown = rows_of(job_detail.explanation(why))
    assert shown[0] == "Job 3 is PENDING: waits for watts"
    assert shown[-1].split() == ["watts", "3", "2.1", "kW", "in", "rack-r2"]


def test_a_paused_job_looks_for_no_nodes() -> None:
    why = ExplainView(JobId(3), "PAUSED", "floors do not fit", 4, 0, 0, ())
    assert rows_of(job_detail.explanation(why)) == ["Job 3 is PAUSED: floors do not fit"]


def test_event_line() -> None:
    warning = rows_of(events.line(event(12, "budget lowered", "warning")))[0]
    assert warning.split()[0] == "12"
    assert "warning" in warning
    assert warning.endswith("scheduler: budget lowered")


def test_report_has_totals_jobs_and_peaks() -> None:
    value = ReportView(
        since_unix_s=UnixTime(0.0),
        until_unix_s=UnixTime(1_780_000_000.0),
        jobs=(job(1, "x", "COMPLETED"),),
        domains=(DomainPeak(DomainId("site"), "power", 20_000.0, 19_500.0, 18_000.0),),
        site_energy_kwh=3.0,
        gpu_hours=2.67,
        cap_bound_gpu_s=4310.0,
        idle_energy_kwh=1.0,
        simulated=True,
    )
    shown = text_of(report.report(value))
    for part in ("3 kWh", "2 kWh", "2.67", "19.5 kW", "simulated"):
        assert part in shown
    assert "newest" not in shown
    vision = GroupTotals("vision", 7, 2.67, 2.0, 3.4, 0.5)
    long = msgspec.structs.replace(value, accounts=(vision,), jobs_total=7)
    rows = rows_of(report.report(long))
    (totals,) = (row for row in rows if row.startswith("vision"))
    assert totals.split() == ["vision", "7", "2.67", "2", "kWh", "3.40", "USD", "50", "%"]
    assert "The newest 1 of 7 jobs." in rows


@pytest.mark.parametrize(
    ("state", "exit_code", "status"),
    [
        ("COMPLETED", 0, 0),
        ("FAILED", 3, 3),
        ("FAILED", 137, 137),
        ("FAILED", 0, 1),
        ("FAILED", None, 1),
        ("TIMEOUT", 143, 124),
        ("CANCELLED", 143, 125),
    ],
)
def test_status_of_a_job_that_was_waited_for(
    state: JobState, exit_code: int | None, status: int
) -> None:
    """Whatever its tries ended with: those stopped for another one's end failed of nothing."""
    stopped = TaskExit(kind="signaled", signal=15, ended_unix_s=UnixTime(2.0))
    tries = (
        attempt(0, "FAILED", TaskExit(kind="exited", code=9)),
        attempt(1, "CANCELLED", stopped),
    )
    shown = job(1, "x", state, attempts=tries, exit_code=exit_code)
    assert exit_status(shown) == status


def test_quiet_submission_is_the_bare_number() -> None:
    assert jobs.submitted(Submission(JobId(12), "x", is_quiet=True)) == "12"
    assert text_of(jobs.submitted(Submission(JobId(12), "x", is_quiet=False))).split() == [
        "Submitted",
        "job",
        "12",
        "(x).",
    ]


def test_a_job_that_never_started_has_no_time_in_its_end() -> None:
    failed = job(12, "x", "FAILED", started_unix_s=None, reason="command not found: x")
    shown = text_of(jobs.submitted(Submission(JobId(12), "x", is_quiet=False, ended=failed)))
    assert shown.strip() == "Job 12 (x) FAILED: command not found: x"


def test_limits_stand_below_the_domains() -> None:
    lines = rows_of(page_of(power.LIST, troubled_site().domains))
    at = lines.index("")
    assert "limited by shed" in "\n".join(lines[:at])
    assert lines[at + 1].split() == ["LIMIT", "DOMAIN", "TO", "NOW", "WHEN", "BY", "WHY"]
    assert lines[at + 2].split()[:4] == ["shed", "site", "16.5", "kW"]
    assert lines[at + 2].endswith("grid event 4711")


def test_accounts_are_shown_with_what_is_due_and_quotas() -> None:
    def account(name: str, parent: str | None, share: float, used: float) -> AccountView:
        return AccountView(name, parent, share, used, used / share, 12.5, 8.25, 4.0, 2, 3)

    value = Accounts(
        (account("research", None, 0.75, 0.5), account("vision", "research", 0.375, 0.5)),
        half_life_s=604_800.0,
        quotas=(
            QuotaView("queue", "night", "gpus", 8.0, 6.5, None, 9, (JobId(7), JobId(9))),
            QuotaView("queue", "day", "gpus", 8.0, 1.0),
            QuotaView("account", "research", "power_w", 20_000.0, 1_520.0),
            QuotaView("account", "research", "open_jobs", 100_000.0, 1.0),
            QuotaView("account", "research", "kwh_per_day", 200.0, 20.25, NOON),
            QuotaView("account", "research", "usd_per_month", 5_000.0, 12.0, NOON),
        ),
    )
    with local_time("UTC"):
        shown = text_of(page_of(accounts.LIST, value))
    assert "research   75 %  50 %      0.67" in shown
    assert "\n  vision" in shown
    assert "Use of 7d ago counts half." in shown
    assert "8 GPUs" in shown
    assert "6.5 GPUs" in shown
    assert " 1 GPU " in shown
    assert "7, 9 and 7 more" in shown
    assert "as work ends" in shown
    assert "20 kW" in shown
    assert "a day" in shown
    assert "100,000 open jobs" in shown
    assert "1 open job " in shown
    assert "a month" in shown
    assert "No account" in text_of(page_of(accounts.LIST, Accounts((), 604_800.0)))
    some = text_of(page_of(accounts.LIST, value, where="account=research"))
    assert "night" not in some, "only quotas of the accounts selected"
    assert "research  account" in some


def test_quotas_are_a_list_of_their_own() -> None:
    quotas = (
        QuotaView("queue", "night", "gpus", 8.0, 6.5, None, 9, (JobId(7), JobId(9))),
        QuotaView("account", "research", "kwh_per_day", 200.0, 20.25, NOON),
    )
    heads, *lines = csv_of(accounts.QUOTAS, quotas, where="of-limit>80%")
    assert dict(zip(heads, *lines, strict=True)) == {
        "quota": "night",
        "of": "queue",
        "kind": "gpus",
        "limit": "8",
        "used": "6.5",
        "left": "1.5",
        "of_limit": "0.8125",
        "resets": "",
        "jobs": "7 9",
    }
    with pytest.raises(ActFailed, match="the nearest is waiting"):
        asked_of(accounts.QUOTAS, where="waitng>0")


def test_init_names_a_bundle_that_other_directories_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    site = MadeSite("site", "site", "site/site.toml", "site/bundles/admin.toml", ("n1",))
    assert "export WATTLINE_BUNDLE=/site/bundles/admin.toml" in made(site)
