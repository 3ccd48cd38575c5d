"""The checkpoints that a job has published, as a list."""

from dataclasses import dataclass

from wattline_protocol.ids import AttemptNo
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.views.site_views import JobView
from wattline_protocol.views.training_views import CheckpointView
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_tui.job_records import JobRecords

NOT_KEPT = "–"
STORED, OLDER, OVERTAKEN = "stored", "a newer one is stored", "a newer one comes first"


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A published checkpoint."""

    attempt: AttemptNo | None
    """None = not known: its record was not read."""
    saved: SavedCheckpoint
    store: str
    """Whether the store of the site has it."""

    @property
    def key(self) -> str:
        """Unique in its job."""
        return f"{self.attempt}/{self.saved.step}/{self.saved.unix_s}"


def checkpoint_rows(job: JobView, records: JobRecords) -> list[CheckpointRow]:
    """The newest first; without a record the one that the job reports."""
    newest = job.checkpoint
    found = records.checkpoints
    if not found and newest is not None:
        of = (newest.step, newest.bytes, newest.save_s, newest.saved_unix_s)
        store = STORED if newest.uploaded else _unstored(newest)
        return [CheckpointRow(None, SavedCheckpoint(*of), store if _is_kept(job) else NOT_KEPT)]
    return [
        CheckpointRow(attempt, one, _store(job, attempt, one, is_newest=at == 0))
        for at, (attempt, one) in enumerate(found)
    ]


def checkpoint_table(_: float) -> Table[CheckpointRow]:
    """Its columns."""
    own = Column[CheckpointRow]
    return Table(
        (
            own("step", kinds.NUMBER, lambda row: row.saved.step),
            own("saved", kinds.TIME, lambda row: row.saved.unix_s),
            own("size", kinds.SIZE, lambda row: row.saved.bytes),
            own("took", kinds.DURATION, lambda row: row.saved.save_s, weight=2),
            own("try", kinds.NUMBER, lambda row: row.attempt, weight=3),
            own("store", kinds.TEXT, lambda row: row.store, "IN THE STORE", grows=True),
        ),
        empty="No checkpoints.",
    )


def _is_kept(job: JobView) -> bool:
    return job.spec is not None and bool(job.spec.data.outputs)


def _store(job: JobView, attempt: AttemptNo, one: SavedCheckpoint, *, is_newest: bool) -> str:
    """Only the newest is copied: those that it overtakes are not."""
    known = job.checkpoint
    if not _is_kept(job) or known is None:
        return NOT_KEPT
    stored = known.stored
    if stored is not None and (attempt, one.step) == (stored.saved_by, stored.step):
        return STORED
    if stored is not None and (attempt, one.unix_s) < (stored.saved_by, stored.unix_s):
        return OLDER
    return _unstored(known) if is_newest else OVERTAKEN


def _unstored(newest: CheckpointView) -> str:
    return f"not yet: {newest.behind_why}" if newest.behind_why else "not yet"
