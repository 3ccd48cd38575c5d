"""One job: its log is read backwards, searched and followed; a pending one says why it waits."""

import msgspec
from textual.pilot import Pilot

from support.core.site_views import NOON, attempt, busy_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import JobSpec, Launch
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.views.training_views import RankView
from wattline_protocol.wire.client_messages import Answer, Denied, FetchLog, Request
from wattline_tui.app import TopApp
from wattline_tui.listing.attempts import attempt_rows, attempt_table
from wattline_tui.listing.log_choices import log_choices
from wattline_tui.messages import FetchNow, OpenJob
from wattline_tui.screens.job import JobScreen
from wattline_tui.widgets.log import LogPane

LINES = [f"line {n:06}" for n in range(20_000)]


async def opened(pilot: Pilot[None], job: int) -> JobScreen:
    app = pilot.app
    await settled(pilot)
    app.post_message(OpenJob(JobId(job)))
    await settled(pilot)
    await settled(pilot)
    assert isinstance(app.screen, JobScreen)
    return app.screen


async def test_a_log_is_read_backwards_piece_by_piece_without_a_gap() -> None:
    feed = PlayedFeed(busy_site())
    feed.log = "\n".join(LINES) + "\n"
    app = TopApp(feed)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 1)
        pane = screen.query_one(LogPane)
        assert pane.shown[-1] == LINES[-1]
        assert "bytes before: b" in screen_text(app)
        first = len(pane.shown)
        await pressed(pilot, ["b"])
        assert len(pane.shown) > first
        assert pane.shown == LINES[-len(pane.shown) :]
        for _ in range(5):
            await pressed(pilot, ["b"])
        assert pane.shown == LINES
        assert "bytes before" not in screen_text(app)


async def test_a_log_with_long_progress_bars_is_read_back_to_its_beginning() -> None:
    feed = PlayedFeed(busy_site())
    bar = "\r".join(f"{n:6} of 20000" for n in range(20_000))
    feed.log = f"begins\n{bar}\nloss 0.4\n{bar}"
    app = TopApp(feed)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 1)
        pane = screen.query_one(LogPane)
        assert pane.shown == [" 19999 of 20000"]
        while pane.begin:
            before = pane.begin
            await pressed(pilot, ["b"])
            assert pane.begin < before
        assert pane.shown == ["begins", " 19999 of 20000", "loss 0.4", " 19999 of 20000"]


async def test_a_text_is_found_before_what_is_in_view() -> None:
    feed = PlayedFeed(busy_site())
    feed.log = "\n".join(LINES) + "\n"
    app = TopApp(feed)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 1)
        await pressed(pilot, ["slash", "'LINE 0190", "enter"])
        pane = screen.query_one(LogPane)
        assert "line 019099" in screen_text(app)
        assert not pane.follows
        await pressed(pilot, ["N", "f"])
        assert app.screen.query_one(LogPane).follows
        await pressed(pilot, ["slash", "'nowhere", "enter"])
        said = [one.message for one in app._notifications]
        assert said == ["“nowhere” is not in what is shown; b reads what is before."]


async def test_a_log_that_does_not_grow_any_more_is_not_followed() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 1)
        log = screen.query_one(LogPane)
        assert str(log.border_subtitle) == "following"
        details = screen.details
        assert details is not None
        screen.show_details(msgspec.structs.replace(details, state="FAILED"), NOON)
        assert str(log.border_subtitle) == "its job has ended"


async def test_a_pending_job_says_why_in_place_of_its_log() -> None:
    site = busy_site()
    jobs = [msgspec.structs.replace(one, attempt_count=int(one.id != 3)) for one in site.jobs]
    feed = PlayedFeed(msgspec.structs.replace(site, jobs=tuple(jobs)))
    feed.explain = ExplainView(JobId(3), "PENDING", "watts: 2.1 kW missing", 4, 0, 2, ())
    app = TopApp(feed)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, 3)
        await settled(pilot)
        assert "0 of 4 nodes could take it now, 2 needed" in screen_text(app)
        assert "log of task 0" not in screen_text(app)
        await pressed(pilot, ["m", "m", "m"])
        assert "log of task 0" not in screen_text(app), "the parts of the screen were turned over"
        assert isinstance(app.screen, JobScreen)
        details = app.screen.details
        assert details is not None
        running = msgspec.structs.replace(details, state="RUNNING", attempt_count=1)
        app.screen.show_details(running, NOON)
        await settled(pilot)
        assert "log of task 0" in screen_text(app)
        assert isinstance(app.focused, LogPane)


async def test_charts_of_the_whole_run_and_checkpoints_take_the_place_of_the_log() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, 1)
        assert "loss 0.47" in screen_text(app), "in brief"
        await pressed(pilot, ["m"])
        shown = screen_text(app)
        for text in ("metrics, whole run", "samples_per_s 378", "╵0", "╵8m"):
            assert text in shown
        await pressed(pilot, ["m"])
        assert "2000  20:23:20  7 GiB    41s" in screen_text(app)
        await pressed(pilot, ["m"])
        assert "saved step 2" in screen_text(app)


async def test_the_log_of_a_rank_is_chosen_by_name() -> None:
    feed = PlayedFeed(busy_site())
    launch = Launch(how="torchrun", procs_per_node=2)
    feed.spec = JobSpec(name="train", command=("train.py",), kind="training", launch=launch)
    app = TopApp(feed)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, 1)
        await pressed(pilot, ["t"])
        assert "rank 1  on gpu-01" in screen_text(app)
        await pressed(pilot, ["'rank 1", "enter"])
        assert "2 match equally well" in screen_text(app), "one of each task"
        await pressed(pilot, ["escape", "t", "'0/1", "enter"])
        assert "log of rank 1" in screen_text(app)
        asked = [one for one in feed.fetched if isinstance(one, FetchLog)]
        assert (asked[-1].task, asked[-1].rank) == (0, 1)
        await pressed(pilot, ["t", "'nowhere", "enter"])
        assert [one.message for one in app._notifications] == [
            "the job has no task or rank nowhere"
        ]


class NoLogs(PlayedFeed):
    """The node does not answer for logs, until it does."""

    why = "the log of 1.0#1 is on [b]gpu-01[/b], which does not report"

    def ask(self, request: Request) -> Answer:
        if isinstance(request, FetchLog) and self.why:
            return Denied("unavailable", self.why)
        return super().ask(request)


async def test_a_log_that_is_not_read_says_why_until_it_is() -> None:
    feed = NoLogs(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, 1)
        assert feed.why in screen_text(app)
        feed.why = ""
        screen.post_message(FetchNow())
        await settled(pilot)
        assert "saved step 2" in screen_text(app)
        assert "which does not report" not in screen_text(app)


def test_logs_of_a_gang_are_those_of_its_tasks_and_ranks() -> None:
    job = busy_site().jobs[0]
    attempts = tuple(attempt(task, "RUNNING") for task in (0, 1))
    rank = RankView(3, attempts[1].node, 7, 120, 0.25, "slow")
    launch = Launch(how="torchrun", procs_per_node=2)
    spec = JobSpec(name="t", command=("x",), kind="training", launch=launch)
    plain = msgspec.structs.replace(job, attempts=attempts, spec=None)
    assert [one.label for one in log_choices(plain)] == ["task 0", "task 1"]
    resources = msgspec.structs.replace(spec.resources, nodes=2)
    gang = msgspec.structs.replace(spec, resources=resources)
    found = log_choices(msgspec.structs.replace(plain, spec=gang, ranks=(rank,)))
    labels = ["task 0", "rank 0", "rank 1", "task 1", "rank 2", "rank 3"]
    assert [one.label for one in found] == labels
    assert [one.note for one in found][-1] == "on gpu-02 · slow · step 120"


def test_a_rank_stands_beside_its_attempt() -> None:
    job, both = busy_site().jobs[0], (attempt(0, "RUNNING"), attempt(1, "RUNNING"))
    attempts = tuple(
        msgspec.structs.replace(one, pid=pid) for one, pid in zip(both, (7, None), strict=True)
    )
    rank = RankView(3, attempts[0].node, 7, 120, 0.25, "slow", cause="hot")
    table = attempt_table(NOON)
    rows = attempt_rows(msgspec.structs.replace(job, attempts=attempts, ranks=(rank,)))
    cells = [[table.column(name).cell(row) for name in ("rank", "step", "in step")] for row in rows]
    assert cells == [["3", "120", "slow 0.25 s/step, hot"], ["-", "-", ""]]
