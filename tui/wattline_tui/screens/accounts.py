"""Accounts screen: shares and usage of accounts, remaining quotas, and waiting jobs."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from wattline_protocol.text.quantities import format_duration
from wattline_protocol.wire.client_messages import Accounts, Answer, ListAccounts, Request
from wattline_tui.accounts import ACCOUNT_COLUMNS, QUOTA_COLUMNS, account_rows, quota_rows
from wattline_tui.actions import Place, bindings
from wattline_tui.messages import OpenJob, OpenList
from wattline_tui.screens.base import ListScreen
from wattline_tui.screens.reservations import ReservationsScreen
from wattline_tui.widgets.list_table import ListTable
from wattline_tui.widgets.tables import SteadyTable


class AccountsScreen(ListScreen):
    """Opened from the overview."""

    CSS_PATH = "accounts.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("accounts")]
    place: ClassVar[Place] = "accounts"

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts((), 0.0)

    @property
    def request(self) -> Request:
        """The whole list."""
        return ListAccounts()

    def content(self) -> ComposeResult:
        """Accounts above, quotas below where there are any."""
        with Vertical(id="content"):
            yield SteadyTable(ACCOUNT_COLUMNS, id="accounts")
            yield SteadyTable(QUOTA_COLUMNS, id="quotas")

    def on_mount(self) -> None:
        """The rows come with the first answer."""
        self._accounts.border_title = "accounts, in queue order"
        self._quotas.border_title = "quotas"
        self._accounts.focus()

    @property
    def _accounts(self) -> SteadyTable:
        return self.query_one("#accounts", SteadyTable)

    @property
    def _quotas(self) -> SteadyTable:
        return self.query_one("#quotas", SteadyTable)

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the accounts."""
        if not isinstance(answer, Accounts):
            return
        accounts = self.accounts = answer
        self._accounts.show(account_rows(accounts))
        half_life = format_duration(accounts.half_life_s)
        counts = f"use of {half_life} ago counts half"
        self._accounts.border_subtitle = counts if accounts.accounts else "no use yet"
        waiting = sum(quota.waiting for quota in accounts.quotas)
        self._quotas.show(quota_rows(accounts, now_unix_s))
        self._quotas.display = bool(accounts.quotas)
        self._quotas.border_subtitle = f"{waiting} waiting"

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Enter or click on a row."""
        event.stop()
        self.open_waiting()

    def action_reservations(self) -> None:
        """Open reservations."""
        self.post_message(OpenList(ReservationsScreen()))

    def open_waiting(self) -> None:
        """Open the oldest job that waits for the selected quota."""
        if self.focused is not self._quotas or not self.accounts.quotas:
            return
        waiting = self.accounts.quotas[self._quotas.rows.cursor].first_waiting
        if waiting:
            self.post_message(OpenJob(waiting[0]))
        else:
            self.notify("No job is pending for this quota.")
