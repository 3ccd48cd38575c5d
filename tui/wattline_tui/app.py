"""The app: takes snapshots from the feed, keeps the view, opens screens, carries out acts."""

import secrets
import threading
import time
from collections.abc import Iterable
from typing import ClassVar, TypeVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen

from wattline_protocol.ids import JobId, TaskNo
from wattline_protocol.requests import (
    Accounts,
    Acted,
    Cancel,
    Denied,
    Done,
    Drain,
    Explain,
    Explained,
    FetchLog,
    GetJob,
    Hold,
    Jobs,
    ListAccounts,
    Log,
    Release,
    Request,
    Requeue,
    Restore,
    Undrain,
    Update,
)
from wattline_protocol.reserving import ListReservations, Reservations
from wattline_protocol.selecting import only
from wattline_tui.actions import ACTIONS, bindings
from wattline_tui.client import Feed, FeedLost
from wattline_tui.explained import explained
from wattline_tui.messages import (
    AccountsArrived,
    Act,
    FeedInterrupted,
    JobArrived,
    LogArrived,
    OpenAccounts,
    OpenJob,
    OpenNode,
    OpenReservations,
    ReservationsArrived,
    SiteArrived,
)
from wattline_tui.model import View, interrupted, reduce
from wattline_tui.orders import parse_shed
from wattline_tui.screens.accounts import AccountsScreen
from wattline_tui.screens.base import SiteScreen
from wattline_tui.screens.dialogs import Ask, Confirm, Page, help_text
from wattline_tui.screens.job import JobScreen
from wattline_tui.screens.node import NodeScreen
from wattline_tui.screens.overview import OverviewScreen
from wattline_tui.screens.reservations import ReservationsScreen

Shown = TypeVar("Shown", bound=SiteScreen)

PERIOD_S = 1.0
RETRY_S = 1.0
LOG_BYTES = 64 * 1024


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

    def on_mount(self) -> None:
        """Open the overview and start listening."""
        self.theme = "tokyo-night"
        self.push_screen(OverviewScreen())
        self.set_interval(PERIOD_S, self._redraw)
        self.run_worker(self._listen, thread=True, name="feed", exit_on_error=True)

    def on_unmount(self) -> None:
        """Let the worker threads end."""
        self._leaving.set()
        self.feed.close()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette offers what the table of actions has for this screen."""
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
                    self.post_message(SiteArrived(site))
            except FeedLost as lost:
                self.post_message(FeedInterrupted(str(lost)))
            self._leaving.wait(RETRY_S)

    def on_site_arrived(self, message: SiteArrived) -> None:
        """A new snapshot."""
        self.view = reduce(self.view, message.site, time.monotonic())
        self._redraw()
        job = self._on_top(JobScreen)
        if job is not None:
            self._follow_job(job)
        elif self._on_top(AccountsScreen) is not None:
            self._follow(ListAccounts())
        elif self._on_top(ReservationsScreen) is not None:
            self._follow(ListReservations())

    def on_feed_interrupted(self, message: FeedInterrupted) -> None:
        """Keep what is on screen, marked."""
        self.view = interrupted(self.view, message.why)
        self._redraw()

    def on_job_arrived(self, message: JobArrived) -> None:
        """Details of the job on screen."""
        screen = self._on_top(JobScreen)
        if screen is not None and screen.job == message.job.id:
            screen.show_details(message.job, self._now_s)

    def on_accounts_arrived(self, message: AccountsArrived) -> None:
        """What is due, used and left."""
        screen = self._on_top(AccountsScreen)
        if screen is not None:
            screen.show_accounts(message.accounts, self._now_s)

    def on_reservations_arrived(self, message: ReservationsArrived) -> None:
        """Who has reserved what."""
        screen = self._on_top(ReservationsScreen)
        if screen is not None:
            screen.show_reservations(message.reservations.reservations, self._now_s)

    def on_log_arrived(self, message: LogArrived) -> None:
        """More of a log."""
        screen = self._on_top(JobScreen)
        if screen is not None:
            screen.add_log(message.key, message.text)

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
        self.call_after_refresh(self._follow_job, screen)

    def on_open_accounts(self, message: OpenAccounts) -> None:
        """Show accounts and quotas."""
        del message
        self._open(AccountsScreen(), ListAccounts())

    def on_open_reservations(self, message: OpenReservations) -> None:
        """Show reservations."""
        del message
        self._open(ReservationsScreen(), ListReservations())

    def _open(self, screen: SiteScreen, request: Request) -> None:
        """A screen that draws what this is answered with."""
        self.push_screen(screen)
        self.call_after_refresh(self._redraw)
        self.call_after_refresh(self._follow, request)

    def action_help(self) -> None:
        """All keys."""
        self.push_screen(Page(help_text()))

    async def action_back(self) -> None:
        """To the screen below; the overview stays."""
        if len(self.screen_stack) > 2:
            self.pop_screen()

    def _follow_job(self, screen: JobScreen) -> None:
        job, task, key = screen.job, screen.shown_task, screen.log_key
        offset = screen.log_offsets.get(key, 0)
        self.run_worker(
            lambda: self._fetch(job, task, key, offset, screen),
            thread=True,
            group="job",
            exclusive=True,
            name="job",
        )

    def _follow(self, request: Request) -> None:
        self.run_worker(
            lambda: self._fetch_list(request),
            thread=True,
            group="list",
            exclusive=True,
            name="list",
        )

    def _fetch_list(self, request: Request) -> None:
        try:
            answer = self.feed.ask(request)
        except FeedLost as lost:
            self.post_message(FeedInterrupted(str(lost)))
            return
        if isinstance(answer, Accounts):
            self.post_message(AccountsArrived(answer))
        elif isinstance(answer, Reservations):
            self.post_message(ReservationsArrived(answer))

    def _fetch(self, job: JobId, task: TaskNo, key: str, offset: int, screen: JobScreen) -> None:
        try:
            details = self.feed.ask(GetJob(job))
            log = self.feed.ask(FetchLog(job, task, offset=offset, limit_bytes=LOG_BYTES))
        except FeedLost as lost:
            self.post_message(FeedInterrupted(str(lost)))
            return
        if isinstance(details, Jobs) and details.jobs:
            self.post_message(JobArrived(details.jobs[0]))
        if isinstance(log, Log) and log.data and screen.log_offsets.get(key, 0) == offset:
            screen.log_offsets[key] = log.next_offset
            self.post_message(LogArrived(key, log.data.decode(errors="replace")))

    # --- acts ---------------------------------------------------------------------------

    def on_act(self, message: Act) -> None:
        """What the user wants done; what cannot be taken back is asked first."""
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
                self.push_screen(Confirm("Restore every lowered budget?"), self._restore)
            case "drain" if message.node is not None:
                node = self.view.node(message.node)
                draining = node is not None and node.state in {"draining", "drained"}
                self._order(Undrain(message.node) if draining else Drain(message.node, "from top"))
            case "hold" if message.job is not None:
                job = self.view.job(message.job)
                held = job is not None and job.state == "HELD"
                which = only(message.job)
                self._order(Release(which) if held else Hold(which))
            case "cancel" if message.job is not None:
                self._confirm(f"Cancel job {message.job}?", Cancel(only(message.job)))
            case "requeue" if message.job is not None:
                order = Requeue(only(message.job), secrets.token_hex(16))
                self._confirm(f"Send job {message.job} back to the queue?", order)
            case "priority" if message.job is not None:
                which = only(message.job)
                self.push_screen(
                    Ask("Priority: low, normal, high, critical, or 0 to 100?", "normal"),
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
            self._order(parse_shed(text, known))
        except ValueError as error:
            self.notify(str(error), severity="error", title="Not shed")

    def _restore(self, yes: bool | None) -> None:
        site = self.view.site
        if yes and site is not None:
            for domain in site.domains:
                if any(limit.source == "operator" for limit in domain.limits):
                    self._order(Restore(domain.id, "from top"))

    def _confirm(self, question: str, order: Request) -> None:
        self.push_screen(Confirm(question), lambda yes: self._order(order) if yes else None)

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
            told = "\n".join(job.text for job in answer.jobs)
            self.call_from_thread(self.notify, told)
        elif isinstance(answer, Explained):
            page = Page(explained(answer.explain, self._now_s))
            self.call_from_thread(self.push_screen, page)
        elif isinstance(answer, Done):
            self.call_from_thread(self.notify, answer.text)
