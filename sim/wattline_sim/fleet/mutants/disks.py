"""Rules of what is on disk before what, each removed."""

from collections.abc import Sequence

from wattline_scheduler.core.model.effects import Effect
from wattline_scheduler.records import BookRecord, Record, Saved
from wattline_scheduler.store import store
from wattline_scheduler.store.errors import StoreError
from wattline_sim.fleet.disk import Disk
from wattline_sim.fleet.mutants.mutant import Mutant
from wattline_sim.fleet.scheduler_shell import SchedulerShell
from wattline_sim.shells.scheduler_effects import saved

_commit_disk = Disk.commit
_commit_shell = SchedulerShell._commit
_open = Disk.open


def _without_growth(self: Disk, records: Sequence[Record]) -> None:
    _commit_disk(self, [r for r in records if not (isinstance(r, BookRecord) and r.sent)])


def _in_pieces(self: SchedulerShell, records: list[Record]) -> None:
    """Every growth first, in a transaction of its own; what financed it later."""
    grows = [isinstance(r, BookRecord) and bool(r.sent) for r in records]
    for wanted in (True, False):
        _commit_shell(
            self, [r for r, it_grows in zip(records, grows, strict=True) if it_grows is wanted]
        )


def _say_first(self: SchedulerShell, effects: list[Effect]) -> None:
    """Words leave before their records are on disk, and whatever becomes of these."""
    self._say(effects, self._life)
    try:
        self._commit(saved(effects))
    except StoreError:
        return


def _same_epoch(self: Disk, unix_s: float, instance: str, *, recover: bool = False) -> Saved:
    """The epoch that a run raises is lost with it."""
    del instance
    self._connection.execute("UPDATE meta SET epoch = 0")
    return _open(self, unix_s, "run", recover=recover)


def _unmarked(self: Disk) -> bytes:
    """A copy of the file as it is, not made by the store."""
    return self._connection.serialize()


def _as_ever(self: Disk, unix_s: float, instance: str, *, recover: bool = False) -> Saved:
    """An old copy is opened as if it were what was left behind."""
    if recover:
        self.records.clear()
    return _open(self, unix_s, instance)


def _from_newest(newest: int, epoch: int) -> int:
    """As after any other start."""
    del epoch
    return newest


MUTANTS = (
    Mutant(
        "growth-not-on-disk",
        "a growth is on disk before it is sent",
        ((Disk, "commit", _without_growth),),
        "I9",
    ),
    Mutant(
        "growth-in-pieces",
        "a growth and the reductions that finance it are one transaction",
        ((SchedulerShell, "_commit", _in_pieces),),
        "I9",
    ),
    Mutant(
        "sent-before-saved",
        "nothing is sent that is not on disk, even if the disk is full",
        ((SchedulerShell, "_carry_out", _say_first),),
        "I9",
    ),
    Mutant(
        "epoch-not-durable",
        "the epoch is on disk before its first use",
        ((Disk, "open", _same_epoch),),
        "I8",
    ),
    Mutant(
        "backup-without-recover",
        "a restored backup is started with --recover only",
        ((Disk, "backup", _unmarked), (Disk, "open", _as_ever)),
        "I8",
    ),
    Mutant(
        "numbers-again",
        "after a restored backup no job has a number that the lost tail may have assigned",
        ((store, "_number_floor", _from_newest),),
        "I7",
    ),
)
