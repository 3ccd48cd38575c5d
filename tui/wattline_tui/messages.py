"""Messages between workers, screens and the app."""

from dataclasses import dataclass

from textual.message import Message

from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.views.site_views import ExplainView, JobView, SiteView
from wattline_protocol.wire.client_messages import Answer, ClientWelcome, Log
from wattline_protocol.wire.task_reports.run_records import FetchRecord, RunReport
from wattline_tui.listing.places import Target
from wattline_tui.model import LogPlace
from wattline_tui.screens.base import ListScreen


@dataclass
class SiteArrived(Message):
    """A snapshot from the feed, made at `made_s` of this host's monotonic clock."""

    site: SiteView
    made_s: float


@dataclass
class FeedInterrupted(Message):
    """No snapshots now; the feed tries again."""

    why: str


@dataclass
class JobArrived(Message):
    """Details of the job on screen."""

    job: JobView


@dataclass
class RecordArrived(Message):
    """What the record of an attempt has, or why there is none."""

    asked: FetchRecord
    found: RunReport | str


@dataclass
class ListArrived(Message):
    """The answer to the request of a list."""

    answer: Answer


@dataclass
class LogArrived(Message):
    """More of the log on screen, read from `asked` on."""

    asked: LogPlace
    log: Log


@dataclass
class LogRefused(Message):
    """The log was not read."""

    asked: LogPlace
    why: str
    """Empty: it has nothing new."""


@dataclass
class LogBehind(Message):
    """The log on screen grows faster than it is read."""

    asked: LogPlace


@dataclass
class OpenList(Message):
    """Show a list."""

    screen: ListScreen


@dataclass
class OpenNode(Message):
    """Show a node, with the cursor on one of its GPUs."""

    node: NodeId
    gpu: str = ""
    """Its index; empty: the first."""


@dataclass
class OpenJob(Message):
    """Show a job."""

    job: JobId


@dataclass
class GoTo(Message):
    """Show an object in its mode."""

    target: Target


class FilterJobs(Message):
    """Show all jobs, and a line for a condition."""


@dataclass
class Greeted(Message):
    """The scheduler has said as whom it knows this terminal."""

    me: ClientWelcome


@dataclass
class Redraw(Message):
    """A screen shows the same view differently."""


class FetchNow(Message):
    """A screen shows something else: fetch that before the next snapshot."""


@dataclass
class ReadEarlier(Message):
    """Read the piece of the log before what a screen shows."""

    job: JobId
    before: LogPlace
    """Its offset is where what is shown begins."""


@dataclass
class EarlierArrived(Message):
    """It was read from `asked` on."""

    asked: LogPlace
    log: Log


@dataclass
class ExplanationArrived(Message):
    """Why the job on screen waits."""

    explain: ExplainView
