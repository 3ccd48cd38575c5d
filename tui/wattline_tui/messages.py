"""Messages between workers, screens and the app."""

from typing import Literal

from textual.message import Message

from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.views.site_views import JobView, SiteView
from wattline_protocol.wire.client_messages import Accounts, Log
from wattline_protocol.wire.reservations import Reservations
from wattline_tui.model import LogPlace

ActName = Literal[
    "redraw", "shed", "restore", "drain", "hold", "cancel", "requeue", "priority", "explain"
]


class SiteArrived(Message):
    """A snapshot from the feed, made at `made_s` of this host's monotonic clock."""

    def __init__(self, site: SiteView, made_s: float) -> None:
        super().__init__()
        self.site = site
        self.made_s = made_s


class FeedInterrupted(Message):
    """No snapshots now; the feed tries again."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class JobArrived(Message):
    """Details of the job on screen."""

    def __init__(self, job: JobView) -> None:
        super().__init__()
        self.job = job


class LogBehind(Message):
    """The log on screen grows faster than it is read."""

    def __init__(self, asked: LogPlace) -> None:
        super().__init__()
        self.asked = asked


class AccountsArrived(Message):
    """Accounts and quotas as they are now."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__()
        self.accounts = accounts


class ReservationsArrived(Message):
    """Reservations as they are now."""

    def __init__(self, reservations: Reservations) -> None:
        super().__init__()
        self.reservations = reservations


class LogArrived(Message):
    """More of the log on screen, read from `asked` on."""

    def __init__(self, asked: LogPlace, log: Log) -> None:
        super().__init__()
        self.asked = asked
        self.log = log


class OpenAccounts(Message):
    """Show accounts and quotas."""


class OpenReservations(Message):
    """Show reservations."""


class OpenNode(Message):
    """Show a node."""

    def __init__(self, node: NodeId) -> None:
        super().__init__()
        self.node = node


class OpenJob(Message):
    """Show a job."""

    def __init__(self, job: JobId) -> None:
        super().__init__()
        self.job = job


class Act(Message):
    """An act requested by the user."""

    def __init__(
        self, name: ActName, *, node: NodeId | None = None, job: JobId | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.node = node
        self.job = job
