"""Accounts: shares and usage; quotas, and the jobs that wait for one."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from wattline_protocol.lists.account_table import account_table
from wattline_protocol.lists.glob import escaped
from wattline_protocol.lists.tokens import quoted
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted
from wattline_protocol.views.account_views import QuotaView
from wattline_protocol.wire.client_messages import Accounts, Answer, ListAccounts, Request
from wattline_tui.actions import Place, bindings
from wattline_tui.listing.places import Target
from wattline_tui.listing.quotas import quotas_of_terminal
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import GoTo, OpenJob, OpenList
from wattline_tui.screens.base import ListScreen
from wattline_tui.screens.reservations import ReservationsScreen
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


class AccountsScreen(ListScreen):
    """Mode 7. Acts are on none of its rows."""

    CSS_PATH = "accounts.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("accounts")]
    place: ClassVar[Place] = "accounts"

    def __init__(self) -> None:
        super().__init__()
        accounts = Rows(account_table, lambda one: one.name)
        title = "accounts, in queue order"
        self.pane = ListPane(ListTable(accounts, id="accounts"), title, id="pane")
        quotas = Rows(quotas_of_terminal, lambda one: f"{one.of} {one.name} {one.what}")
        self.quotas = ListPane(ListTable(quotas, id="quotas"), "quotas", id="quotas-pane")
        self.accounts = Accounts((), 0.0)

    @property
    def places(self) -> tuple[Place, ...]:
        """Its lists have the keys of all lists."""
        return "list", self.place, "everywhere"

    @property
    def request(self) -> Request:
        """The whole list."""
        return ListAccounts()

    def content(self) -> ComposeResult:
        """Accounts above, quotas below where there are any."""
        with Vertical(id="content"):
            yield self.pane
            yield self.quotas

    def on_mount(self) -> None:
        """The rows come with the first answer."""
        self.pane.table.focus()

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the accounts, and the quotas if there are any."""
        if not isinstance(answer, Accounts):
            return
        self.accounts = answer
        half_life = format_duration(answer.half_life_s)
        counts = f"use of {half_life} ago counts half" if answer.accounts else "no use yet"
        self.pane.facts = f"{self.key_of('reservations')}: reservations · {counts}"
        self.pane.table.show(answer.accounts, now_unix_s)
        waiting = sum(one.waiting > 0 for one in answer.quotas)
        self.quotas.facts = f"jobs wait for {waiting} of {counted(len(answer.quotas), 'quota')}"
        self.quotas.table.show(answer.quotas, now_unix_s)
        self.quotas.display = bool(answer.quotas)

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """The jobs of an account; the oldest job that waits for a quota."""
        event.stop()
        if event.table is self.pane.table:
            where = f"account={quoted(escaped(event.key))}"
            self.post_message(GoTo(Target("where", where, "jobs", event.key)))
            return
        quota = event.table.rows.row
        waiting = quota.first_waiting if isinstance(quota, QuotaView) else ()
        if waiting:
            self.post_message(OpenJob(waiting[0]))
        else:
            self.notify("No job is pending for this quota.")

    def action_reservations(self) -> None:
        """Open reservations."""
        self.post_message(OpenList(ReservationsScreen()))
