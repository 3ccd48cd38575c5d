"""The app: receives snapshots from the feed, keeps the view, opens screens, executes acts."""

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import ClassVar, TypeVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen

from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.text.visible import visible
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import (
    Acted,
    Denied,
    Done,
    Explain,
    Explained,
    FetchLog,
    GetJob,
    Jobs,
    Log,
    Request,
    Update,
)
from wattline_tui.actions import ACTIONS, bindings
from wattline_tui.client import Feed, FeedLost
from wattline_tui.explained import explained
from wattline_tui.messages import (
    Act,
    FeedInterrupted,
    JobArrived,
    ListArrived,
    LogArrived,
    LogBehind,
    OpenJob,
    OpenList,
    OpenNode,
    SiteArrived,
)
from wattline_tui.model import LogPlace, View, interrupted, reduce
from wattline_tui.orders import parse_shed
from wattline_tui.problems import problems_text
from wattline_tui.proposals import (
    Proposal,
    cancel,
    drain_or_undrain,
    hold_or_release,
    job_name,
    requeue,
    restore,
    shed,
)
from wattline_tui.screens.base import ListScreen, SiteScreen
from wattline_tui.screens.dialogs import Ask, Confirm, Page, help_text
from wattline_tui.screens.job import JobScreen
from wattline_tui.screens.node import NodeScreen
from wattline_tui.screens.overview import OverviewScreen

Shown = TypeVar("Shown", bound=SiteScreen)

PERIOD_S = 1.0
RETRY_S = 1.0
LEAVE_S = 0.2
"""Interval at which a waiting thread checks whether the app is closing."""
LOG_PIECES = 4
"""Pieces of `MAX_LOG_CHUNK_BYTES` read at once; faster logs are shown from their end."""


class TopApp(App[None]):
    """`wattline top`."""

    CSS_PATH = "app.tcss"
    TITLE = "wattline"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("everywhere")]

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed
        self.view = View()
        self._leaving = threading.Event()
        self._is_drawn = threading.Event()

    def on_mount(self) -> None:
        """Open the overview and start receiving."""
        self.theme = "tokyo-night"
        self.push_screen(OverviewScreen())
        self.set_interval(PERIOD_S, self._redraw)
        self.run_worker(self._listen, thread=True, name="feed", exit_on_error=True)

    def on_unmount(self) -> None:
        """Stop the worker threads."""
        self._leaving.set()
        self.feed.close()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette offers the actions of this screen from the table."""
        yield from super().get_system_commands(screen)
        for action in ACTIONS:
            owner = next((o for o in (screen, self) if hasattr(o, f"action_{action.id}")), None)
            if owner is not None:
                yield SystemCommand(
                    action.label, action.help, getattr(owner, f"action_{action.id}")
                )

    # --- data in ------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self._leaving.is_set():
            try:
                for site in self.feed.sites(PERIOD_S):
                    self._show_and_wait(site)
            except FeedLost as lost:
                self.post_message(FeedInterrupted(str(lost)))
            self._leaving.wait(RETRY_S)

    def _show_and_wait(self, site: SiteView) -> None:
        """The next snapshot is requested when this one is on screen: none is queued."""
        age_s = max(0.0, time.time() - self.feed.clock_offset_s - site.unix_s)
        self._is_drawn.clear()
        self.post_message(SiteArrived(site, time.monotonic() - age_s))
        while not self._leaving.is_set() and not self._is_drawn.wait(LEAVE_S):
            pass

    def on_site_arrived(self, message: SiteArrived) -> None:
        """A new snapshot."""
        self.view = reduce(self.view, message.site, message.made_s)
        self._redraw()
        self.call_after_refresh(self._is_drawn.set)
        job, listed = self._on_top(JobScreen), self._on_top(ListScreen)
        if job is not None:
            self._watch_job(job)
        elif listed is not None:
            self._watch(listed.request)

    def on_feed_interrupted(self, message: FeedInterrupted) -> None:
        """Keep the screen and mark it as stale."""
        self.view = interrupted(self.view, message.why)
        self._redraw()

    def on_job_arrived(self, message: JobArrived) -> None:
        """Details of the job on screen."""
        screen = self._on_top(JobScreen)
        if screen is not None and screen.job == message.job.id:
            screen.show_details(message.job, self._now_s)

    def on_list_arrived(self, message: ListArrived) -> None:
        """New rows of the list on screen."""
        screen = self._on_top(ListScreen)
        if screen is not None:
            screen.show_answer(message.answer, self._now_s)

    def on_log_arrived(self, message: LogArrived) -> None:
        """More of a log."""
        screen = self._on_top(JobScreen)
        if screen is not None and screen.job == message.log.ref.job:
            screen.add_log(message.asked, message.log)

    def on_log_behind(self, message: LogBehind) -> None:
        """Continue at the end."""
        screen = self._on_top(JobScreen)
        if screen is not None:
            screen.skip_log(message.asked)

    @property
    def _now_s(self) -> float:
        return self.view.site.unix_s if self.view.site else 0.0

    def _on_top(self, kind: type[Shown]) -> Shown | None:
        """The screen on top if it is of that kind; None also while the app closes."""
        stack = self.screen_stack if self.is_running else []
        return stack[-1] if stack and isinstance(stack[-1], kind) else None

    def _redraw(self) -> None:
        if not self.is_running:
            return  # while the app closes, screens on the stack have lost their widgets already
        for screen in self.screen_stack:
            if isinstance(screen, SiteScreen) and screen.is_mounted:
                screen.show(self.view, time.monotonic())

    # --- screens ------------------------------------------------------------------------

    def on_open_node(self, message: OpenNode) -> None:
        """Show a node."""
        self.push_screen(NodeScreen(message.node))
        self.call_after_refresh(self._redraw)

    def on_open_job(self, message: OpenJob) -> None:
        """Show a job and its log."""
        screen = JobScreen(message.job)
        self.push_screen(screen)
        self.call_after_refresh(self._redraw)
        self.call_after_refresh(self._watch_job, screen)

    def on_open_list(self, message: OpenList) -> None:
        """Show accounts and quotas, or reservations."""
        self.push_screen(message.screen)
        self.call_after_refresh(self._redraw)
        self.call_after_refresh(self._watch, message.screen.request)

    def action_help(self) -> None:
        """All keys."""
        self.push_screen(Page(help_text()))

    def action_problems(self) -> None:
        """The problems counted by the badge of alarms."""
        site = self.view.site
        self.push_screen(Page("Not connected." if site is None else problems_text(site)))

    async def action_back(self) -> None:
        """Return to the screen below; the overview stays."""
        if len(self.screen_stack) > 2:
            self.pop_screen()

    def _watch_job(self, screen: JobScreen) -> None:
        job, place = screen.job, screen.log_place
        self._work("job", lambda: self._fetch(job, place))

    def _watch(self, request: Request) -> None:
        self._work("list", lambda: self._fetch_list(request))

    def _work(self, group: str, work: Callable[[], None]) -> None:
        self.run_worker(work, thread=True, group=group, exclusive=True, name=group)

    def _fetch_list(self, request: Request) -> None:
        try:
            self.post_message(ListArrived(self.feed.ask(request)))
        except FeedLost as lost:
            self.post_message(FeedInterrupted(str(lost)))

    def _fetch(self, job: JobId, place: LogPlace) -> None:
        try:
            details = self.feed.ask(GetJob(job))
            if isinstance(details, Jobs) and details.jobs:
                self.post_message(JobArrived(details.jobs[0]))
            self._fetch_log(job, place)
        except FeedLost as lost:
            self.post_message(FeedInterrupted(str(lost)))

    def _fetch_log(self, job: JobId, place: LogPlace) -> None:
        """Growth of the log; if it is more than a few pieces, its end. Raises FeedLost."""
        for _ in range(LOG_PIECES):
            log = self.feed.ask(FetchLog(job, place.task, offset=place.offset))
            if not isinstance(log, Log) or not log.data:
                return
            self.post_message(LogArrived(place, log))
            if log.at_end or place.attempt not in (0, log.ref.attempt):
                return
            place = LogPlace(place.task, log.ref.attempt, log.next_offset)
        self.post_message(LogBehind(place))

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A message that disappears by itself: plain text that cannot control the terminal."""
        del markup
        super().notify(
            visible(message), title=title, severity=severity, timeout=timeout, markup=False
        )

    # --- acts ---------------------------------------------------------------------------

    def on_act(self, message: Act) -> None:
        """Execute an act; irreversible ones are confirmed first."""
        match message.name:
            case "redraw":
                self._redraw()
            case "shed":
                self.push_screen(
                    Ask(
                        "Lower the budget: how much, of which domain, how fast, for how long?",
                        "25% over 5m for 3h",
                    ),
                    self._shed,
                )
            case "restore":
                self._restore()
            case "drain" if message.node is not None:
                self._ask_first(drain_or_undrain(self.view, message.node))
            case "hold" if message.job is not None:
                self._ask_first(hold_or_release(self.view, message.job))
            case "cancel" if message.job is not None:
                self._ask_first(cancel(self.view, message.job))
            case "requeue" if message.job is not None:
                self._ask_first(requeue(self.view, message.job, secrets.token_hex(16)))
            case "priority" if message.job is not None:
                which = only(message.job)
                of = job_name(self.view, message.job)
                self.push_screen(
                    Ask(f"Priority of {of}: low, normal, high, critical, or 0 to 100?", "normal"),
                    lambda text: self._order(Update(which, {"priority": text})) if text else None,
                )
            case "explain" if message.job is not None:
                self._order(Explain(message.job))
            case _:
                self.bell()

    def _shed(self, text: str | None) -> None:
        if not text:
            return
        known = [d.id for d in self.view.site.domains] if self.view.site else []
        try:
            self._ask_first(shed(self.view, parse_shed(text, known)))
        except ValueError as error:
            self.notify(str(error), severity="error", title="Not shed")

    def _restore(self) -> None:
        act = restore(self.view)
        if act is None:
            self.notify("No operator has lowered a budget.")
        else:
            self._ask_first(act)

    def _ask_first(self, act: Proposal) -> None:
        """Confirm an act: names its object and effect, and waits for a yes."""

        def answered(yes: bool | None) -> None:
            for request in act.requests if yes else ():
                self._order(request)

        self.push_screen(Confirm(act.question), answered)

    def _order(self, request: Request) -> None:
        self.run_worker(lambda: self._send(request), thread=True, name="order")

    def _send(self, request: Request) -> None:
        try:
            answer = self.feed.ask(request)
        except FeedLost as lost:
            self.call_from_thread(self.notify, str(lost), severity="error", title="Not done")
            return
        if isinstance(answer, Denied):
            self.call_from_thread(self.notify, answer.reason, severity="error", title="Refused")
        elif isinstance(answer, Acted):
            text = "\n".join(job.text for job in answer.jobs)
            self.call_from_thread(self.notify, text)
        elif isinstance(answer, Explained):
            page = Page(explained(answer.explain, self._now_s))
            self.call_from_thread(self.push_screen, page)
        elif isinstance(answer, Done):
            self.call_from_thread(self.notify, answer.text)
