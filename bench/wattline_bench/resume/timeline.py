"""What the attempts of one job did, and what an interruption between two of them cost; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

PLANNED = ("sigterm", "shed", "preempt")
"""Announced or ordered with a grace: nothing may be lost."""
KINDS = (*PLANNED, "sigkill_rank", "node")


@dataclass(frozen=True, slots=True)
class Line:
    """A step that was done."""

    unix_s: float
    step: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a gang."""

    number: int
    lines: tuple[Line, ...]
    """Of the first rank, in order."""
    began_unix_s: float
    """When the last of its commands was started."""
    rendezvous_s: float
    """The time that the last rank to come waited for the others."""
    ended_unix_s: float
    """The last sign of life of any rank."""
    closed_unix_s: float = 0.0
    """When the last of its tasks had ended by the records of the scheduler."""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interruption:
    """One of them, as it was made."""

    kind: str
    at_unix_s: float
    """When it was ordered; of a shed: when the budget was restored."""
    node: str = ""
    """The host that was lost."""


@dataclass(frozen=True, slots=True)
class Ours:
    """Parts of the time to the next step that are not imports."""

    stop_s: float
    """Until the last task of the attempt has ended."""
    start_s: float
    """From then to the last command started."""
    rendezvous_s: float

    @property
    def whole_s(self) -> float:
        """Of all parts."""
        return self.stop_s + self.start_s + self.rendezvous_s


@dataclass(frozen=True, slots=True)
class Cost:
    """What one interruption cost."""

    kind: str
    lost_steps: int
    """Done before, and done again after it."""
    to_next_step_s: float
    """To the first step that had not been done before."""
    ours: Ours | None
    """None: no new attempt."""
    is_elsewhere: bool = True
    """It resumed without the host that was lost."""


def cost_of(interruption: Interruption, attempts: Sequence[Attempt]) -> Cost:
    """Raises ValueError where no step follows it."""
    at, useful = interruption.at_unix_s, [one for one in attempts if one.lines]
    before = [one for one in useful if one.lines[0].unix_s <= at]
    if not before:
        raise ValueError(f"{interruption.kind} at {at}: no step was done before")
    ran, later = before[-1], [one for one in useful if one.number > before[-1].number]
    if interruption.kind == "shed":
        return _cost_of_shed(at, ran, later)
    if not later:
        raise ValueError(f"no step after {interruption.kind} at {at}")
    done, resumed = ran.lines[-1].step, later[0]
    lost = max(0, done - (resumed.lines[0].step - 1))
    new = next((line for one in later for line in one.lines if line.step > done), None)
    if new is None:
        raise ValueError(f"no new step after {interruption.kind} at {at}")
    closed = max(ran.closed_unix_s, at)
    ours = Ours(closed - at, resumed.began_unix_s - closed, resumed.rendezvous_s)
    is_elsewhere = interruption.node not in resumed.nodes
    return Cost(interruption.kind, lost, new.unix_s - at, ours, is_elsewhere)


def _cost_of_shed(at: float, ran: Attempt, later: Sequence[Attempt]) -> Cost:
    """It is frozen and resumes; a kill in between would begin another attempt."""
    done = max(line.step for line in ran.lines if line.unix_s <= at)
    after = [line for one in (ran, *later) for line in one.lines if line.unix_s > at]
    new = next((line for line in after if line.step > done), None)
    if new is None:
        raise ValueError(f"no step after the shed at {at}")
    return Cost("shed", max(0, done - (after[0].step - 1)), new.unix_s - at, None)


def double_runs(attempts: Iterable[Attempt]) -> int:
    """How often an attempt began before the one before it had ended."""
    return sum(after.began_unix_s < before.ended_unix_s for before, after in pairwise(attempts))


def median(values: Sequence[float]) -> float:
    """The middle one, of an even number the lower of the two; 0 of none."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0.0
