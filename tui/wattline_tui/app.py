"""The app: receives snapshots from the feed, keeps the view, switches modes, opens screens."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypeVar

from textual.binding import Binding, BindingType
from textual.filter import NoColor
from textual.notifications import SeverityLevel
from textual.screen import Screen

from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.text.visible import visible
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import (
    Denied,
    Explain,
    Explained,
    FetchLog,
    GetJob,
    Jobs,
    Log,
    Request,
)
from wattline_protocol.wire.reservations import Reservations
from wattline_protocol.wire.task_reports.run_records import FetchRecord
from wattline_tui.actions import bindings
from wattline_tui.acts.flow import ActsApp
from wattline_tui.acts.table import ACTS
from wattline_tui.client import Feed, FeedLost
from wattline_tui.help_text import help_text
from wattline_tui.job_records import read_record
from wattline_tui.listing.places import Target, gpu_target, targets
from wattline_tui.messages import (
    EarlierArrived,
    ExplanationArrived,
    FeedInterrupted,
    FetchNow,
    FilterJobs,
    GoTo,
    Greeted,
    JobArrived,
    ListArrived,
    LogArrived,
    LogBehind,
    LogRefused,
    OpenJob,
    OpenList,
    OpenNode,
    ReadEarlier,
    RecordArrived,
    Redraw,
    SiteArrived,
)
from wattline_tui.mode_names import MODE_NAMES
from wattline_tui.model import (
    LOG_TAIL_BYTES,
    LogPlace,
    View,
    greeted,
    interrupted,
    reduce,
    reserved,
)
from wattline_tui.modes import SCREENS
from wattline_tui.screens.base import ListScreen, SiteScreen
from wattline_tui.screens.dialogs import Page
from wattline_tui.screens.job import WAITS, JobScreen
from wattline_tui.screens.node import NodeScreen
from wattline_tui.settings import Settings
from wattline_tui.themes import DEFAULT, NO_COLOUR, THEMES
from wattline_tui.widgets.choose import Choose, Item
from wattline_tui.widgets.list_pane import ListPane

Shown = TypeVar("Shown", bound=SiteScreen)

PERIOD_S = 1.0
RETRY_S = 1.0
LEAVE_S = 0.2
"""Interval at which a waiting thread checks whether the app is closing."""
LOG_PIECES = 4
"""Pieces of `MAX_LOG_CHUNK_BYTES` read at once; faster logs are shown from their end."""


class TopApp(ActsApp):
    """`wattline top`."""

    CSS_PATH = "app.tcss"
    TITLE = "wattline"
    ENABLE_COMMAND_PALETTE = False
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = SCREENS
    DEFAULT_MODE = "site"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("everywhere"),
        *(Binding(m.key, f"mode('{m.id}')", m.title, show=False, id=m.id) for m in MODE_NAMES),
        *(Binding(a.key, f"act('{a.id}')", a.label, show=False, id=a.id) for a in ACTS),
    ]

    def __init__(self, feed: Feed, settings: Settings | None = None) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self.feed = feed
        self.view = View()
        self._leaving = threading.Event()
        self._is_drawn = threading.Event()
        self._no_colour = NoColor(enabled=False)
        self._filters.append(self._no_colour)
        self.set_keymap(dict(self.settings.keys))
        for theme in THEMES.values():
            self.register_theme(theme)
        self.use_theme(NO_COLOUR if self.no_color else self.settings.theme)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Variables of ours, for themes of Textual."""
        return dict(THEMES[DEFAULT].variables)

    def use_theme(self, name: str) -> None:
        """Draw in the colours of a theme, or in none."""
        self.no_color = self._no_colour.enabled = name == NO_COLOUR
        self.theme = name

    def on_mount(self) -> None:
        """Start receiving."""
        self.set_interval(PERIOD_S, self._redraw)
        self.run_worker(self._listen, thread=True, name="feed", exit_on_error=True)

    def on_unmount(self) -> None:
        """Stop the worker threads."""
        self._leaving.set()
        self.feed.close()

    # --- data in ------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self._leaving.is_set():
            try:
                for site in self.feed.sites(PERIOD_S):
                    if self.feed.me != self.view.me:  # also after a reconnection
                        self.post_message(Greeted(self.feed.me))
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

    def on_greeted(self, message: Greeted) -> None:
        """User and role."""
        self.view = greeted(self.view, message.me)

    def on_site_arrived(self, message: SiteArrived) -> None:
        """A new snapshot."""
        self.view = reduce(self.view, message.site, message.made_s)
        self._redraw()
        self.call_after_refresh(self._is_drawn.set)
        self._fetch_shown()

    def on_feed_interrupted(self, message: FeedInterrupted) -> None:
        """Keep the screen and mark it as stale."""
        self.view = interrupted(self.view, message.why)
        self._redraw()

    def on_job_arrived(self, message: JobArrived) -> None:
        """Details of the job on screen."""
        screen = self._on_top(JobScreen)
        if screen is not None and screen.job == message.job.id:
            screen.show_details(message.job, self._now_s)
            if wanted := screen.records_due():
                self._work("record", lambda: self._fetch_records(wanted))

    def on_record_arrived(self, message: RecordArrived) -> None:
        """The record of an attempt of the job on screen."""
        screen = self._on_top(JobScreen)
        if screen is not None and screen.job == message.asked.job:
            screen.show_record(message.asked, message.found)

    def on_list_arrived(self, message: ListArrived) -> None:
        """New rows of the list on screen."""
        if isinstance(message.answer, Reservations):
            self.view = reserved(self.view, message.answer.reservations)
        screen = self._on_top(ListScreen)
        if screen is not None and screen.is_mounted:
            screen.show_answer(message.answer, self._now_s)

    def on_log_arrived(self, message: LogArrived) -> None:
        """More of a log."""
        screen = self._on_top(JobScreen)
        if screen is not None and screen.job == message.log.ref.job:
            screen.add_log(message.asked, message.log)

    def on_log_refused(self, message: LogRefused) -> None:
        """Why there is no more of a log."""
        screen = self._on_top(JobScreen)
        if screen is not None:
            screen.refuse_log(message.asked, message.why)

    def on_log_behind(self, message: LogBehind) -> None:
        """Continue at the end."""
        screen = self._on_top(JobScreen)
        if screen is not None:
            screen.skip_log(message.asked)

    def on_fetch_now(self, message: FetchNow) -> None:
        """What the screen shows now."""
        del message
        self._fetch_shown()

    def on_read_earlier(self, message: ReadEarlier) -> None:
        """Read the piece before."""
        self._work("job", lambda: self._fetch_earlier(message.job, message.before))

    def on_earlier_arrived(self, message: EarlierArrived) -> None:
        """The piece before."""
        screen = self._on_top(JobScreen)
        if screen is not None and screen.job == message.log.ref.job:
            screen.add_earlier(message.asked, message.log)

    def on_explanation_arrived(self, message: ExplanationArrived) -> None:
        """Why the job waits."""
        screen = self._on_top(JobScreen)
        if screen is not None and screen.job == message.explain.job:
            screen.show_explanation(message.explain, self._now_s)

    @property
    def _now_s(self) -> float:
        return self.view.site.unix_s if self.view.site else 0.0

    def _on_top(self, kind: type[Shown]) -> Shown | None:
        """The screen on top if it is of that kind; None also while the app closes."""
        stack = self.screen_stack if self.is_running else []
        return stack[-1] if stack and isinstance(stack[-1], kind) else None

    def _redraw(self, *, is_new: bool = False) -> None:
        """The uppermost screen: those below it are drawn when they are shown again."""
        if not self.is_running:
            return  # while the app closes, screens on the stack have lost their widgets already
        screens = [one for one in self.screen_stack if isinstance(one, SiteScreen)]
        if screens and screens[-1].is_mounted:
            screens[-1].show(self.view, time.monotonic(), is_new=is_new)

    def on_redraw(self, message: Redraw) -> None:
        """A screen shows the same differently."""
        del message
        self._redraw(is_new=True)

    # --- screens ------------------------------------------------------------------------

    async def action_mode(self, mode: str) -> None:
        """Switch to a mode, or from a detail of it back to its first screen."""
        if mode == self.current_mode:
            while len(self.screen_stack) > 1:
                await self.pop_screen()
        else:
            await self.switch_mode(mode)
        self._shown()

    def _shown(self) -> None:
        """Another screen is on top: draw it, and fetch what it shows besides."""
        self._redraw()
        self._fetch_shown()

    def on_open_node(self, message: OpenNode) -> None:
        """Show a node."""
        self._open(NodeScreen(message.node, message.gpu))

    def on_open_job(self, message: OpenJob) -> None:
        """Show a job and its log."""
        self._open(JobScreen(message.job))

    def on_open_list(self, message: OpenList) -> None:
        """Show a list."""
        self._open(message.screen)

    def _open(self, screen: SiteScreen) -> None:
        self.push_screen(screen)
        self.call_after_refresh(self._shown)

    def action_help(self) -> None:
        """All keys."""
        self.push_screen(Page(help_text(self._keymap)))

    async def action_alarms(self) -> None:
        """The problems counted by the badge of alarms, with their remedies."""
        await self.action_mode("problems")

    async def action_back(self) -> None:
        """In the list in focus choose nothing, or clear its filter; else go to the screen below."""
        pane = self._pane_in_focus
        if pane is not None and (pane.choose_none() or pane.clear_filter()):
            return
        if len(self.screen_stack) > 1:
            await self.pop_screen()
            self._shown()

    @property
    def _pane_in_focus(self) -> ListPane | None:
        above = self.focused.ancestors_with_self if self.focused is not None else ()
        return next((one for one in above if isinstance(one, ListPane)), None)

    def action_press(self, key: str) -> None:
        """A key of the line of keys was clicked."""
        self.simulate_key(key)

    # --- go to --------------------------------------------------------------------------

    def action_goto(self) -> None:
        """Go to anything by its name."""
        found = targets(self.view)
        items = [
            Item(str(at), one.label, one.note, (one.key, one.name)) for at, one in enumerate(found)
        ]
        hint = "a node, node/GPU, job, domain, service, user"
        self.push_screen(Choose("go to", items, hint), partial(self._go_to_chosen, found))

    def _go_to_chosen(self, found: Sequence[Target], choice: Item | str | None) -> None:
        if choice is None:
            return
        if isinstance(choice, Item):
            target: Target | None = found[int(choice.id)]
        else:
            target = gpu_target(choice, self.view)
        if target is not None:
            self.run_worker(self._go_to(target), name="goto")
        else:
            self.notify(f"nothing is named {choice}", severity="warning")

    def on_go_to(self, message: GoTo) -> None:
        """Show an object in its mode."""
        self.run_worker(self._go_to(message.target), name="goto")

    def on_filter_jobs(self, message: FilterJobs) -> None:
        """All jobs, and a line for a condition."""
        del message
        self.run_worker(self._filter_jobs(), name="goto")

    async def _filter_jobs(self) -> None:
        await self.action_mode("jobs")
        self.screen.query_one(ListPane).action_filter()

    async def _go_to(self, target: Target) -> None:
        if target.kind == "theme":
            self.use_theme(target.key)
            self.call_after_refresh(self._redraw, is_new=True)
            return
        await self.action_mode(target.mode)
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        screen = self.screen
        if target.kind == "node":
            self._open(NodeScreen(NodeId(target.key)))
        elif target.kind == "GPU":
            node, _, gpu = target.key.rpartition("/")
            self._open(NodeScreen(NodeId(node), gpu))
        elif target.kind == "job":
            self._open(JobScreen(JobId(int(target.key))))
        elif target.kind == "where":
            screen.query_one(ListPane).select(target.key)
        elif target.kind != "mode" and isinstance(screen, SiteScreen):
            screen.go_to(target.kind, target.key)

    # --- what is fetched besides snapshots -------------------------------------------------

    def _fetch_shown(self) -> None:
        job, listed = self._on_top(JobScreen), self._on_top(ListScreen)
        if job is not None:
            shown, place = job.job, job.log_place
            self._work("job", lambda: self._fetch(shown, place))
        elif listed is not None and (requests := listed.requests):
            self._work("list", lambda: self._fetch_list(requests))

    def _work(self, group: str, work: Callable[[], None]) -> None:
        self.run_worker(work, thread=True, group=group, exclusive=True, name=group)

    def _fetch_list(self, requests: tuple[Request, ...]) -> None:
        try:
            for request in requests:
                self.post_message(ListArrived(self.feed.ask(request)))
        except FeedLost as lost:
            self.post_message(FeedInterrupted(str(lost)))

    def _fetch_records(self, wanted: Sequence[FetchRecord]) -> None:
        """They are decoded here, beside what is drawn."""
        try:
            for one in wanted:
                self.post_message(RecordArrived(one, read_record(self.feed.ask(one))))
        except FeedLost as lost:
            self.post_message(FeedInterrupted(str(lost)))

    def _fetch(self, job: JobId, place: LogPlace) -> None:
        try:
            details = self.feed.ask(GetJob(job))
            if isinstance(details, Jobs) and details.jobs:
                self.post_message(JobArrived(details.jobs[0]))
                if details.jobs[0].state in WAITS:
                    why = self.feed.ask(Explain(job))
                    if isinstance(why, Explained):
                        self.post_message(ExplanationArrived(why.explain))
                    return
            self._fetch_log(job, place)
        except FeedLost as lost:
            self.post_message(FeedInterrupted(str(lost)))

    def _fetch_earlier(self, job: JobId, before: LogPlace) -> None:
        """The piece of the log that ends where `before` is."""
        begin = max(0, before.offset - LOG_TAIL_BYTES)
        size = before.offset - begin
        try:
            of = (job, before.task, before.attempt, begin, size)
            log = self.feed.ask(FetchLog(*of, rank=before.rank))
        except FeedLost as lost:
            self.post_message(FeedInterrupted(str(lost)))
            return
        if isinstance(log, Log):
            self.post_message(EarlierArrived(replace(before, offset=begin), log))

    def _fetch_log(self, job: JobId, place: LogPlace) -> None:
        """Growth of the log; if it is more than a few pieces, its end. Raises FeedLost."""
        for _ in range(LOG_PIECES):
            log = self.feed.ask(FetchLog(job, place.task, offset=place.offset, rank=place.rank))
            if not isinstance(log, Log) or not log.data:
                why = log.reason if isinstance(log, Denied) else ""
                self.post_message(LogRefused(place, why))
                return
            self.post_message(LogArrived(place, log))
            if log.at_end or place.attempt not in (0, log.ref.attempt):
                return
            place = LogPlace(place.task, log.ref.attempt, log.next_offset, place.rank)
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
