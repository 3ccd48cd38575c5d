"""The attempts of a job as a list: a row a task and try, with its rank where it has one."""

from dataclasses import dataclass
from typing import get_args

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.views.site_views import AttemptView, JobState, JobView
from wattline_protocol.views.training_views import RankView


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt, and its rank while it runs in a gang."""

    attempt: AttemptView
    rank: RankView | None = None

    @property
    def key(self) -> str:
        """Unique in its job."""
        return f"{self.attempt.task}#{self.attempt.attempt}"


def attempt_rows(job: JobView) -> list[AttemptRow]:
    """In the order of the scheduler."""
    ranks = {(one.node, one.pid): one for one in job.ranks}
    return [
        AttemptRow(one, ranks.get((one.node, one.pid)) if one.pid is not None else None)
        for one in job.attempts
    ]


def attempt_table(now_unix_s: float) -> Table[AttemptRow]:
    """Its columns."""
    own, states = Column[AttemptRow], kinds.choice(*get_args(JobState))
    return Table(
        (
            own("task", kinds.NUMBER, lambda row: row.attempt.task),
            own("try", kinds.NUMBER, lambda row: row.attempt.attempt, weight=2),
            own("state", states, lambda row: row.attempt.state),
            own("node", kinds.TEXT, lambda row: row.attempt.node),
            own("gpus", kinds.TEXT, lambda row: row.attempt.places, "GPUs", weight=1),
            own(
                "ran",
                kinds.DURATION,
                lambda row: _ran_s(row.attempt, now_unix_s),
                weight=1,
                is_moving=True,
            ),
            own("energy", kinds.ENERGY, _kwh, weight=3),
            own("rank", kinds.NUMBER, _rank, weight=4),
            own("step", kinds.NUMBER, _step, weight=4),
            own("rank-state", kinds.TEXT, _rank_state, "IN STEP", weight=5),
            own("end", kinds.TEXT, _end, grows=True),
        ),
        empty="Nothing has started.",
    )


def _ran_s(attempt: AttemptView, now_unix_s: float) -> float | None:
    if attempt.started_unix_s is None:
        return None
    return max(0.0, (attempt.ended_unix_s or now_unix_s) - attempt.started_unix_s)


def _kwh(row: AttemptRow) -> float:
    return row.attempt.usage.node_energy_mj / 3.6e9


def _rank(row: AttemptRow) -> int | None:
    return None if row.rank is None else row.rank.rank


def _step(row: AttemptRow) -> int | None:
    return None if row.rank is None else row.rank.step


def _rank_state(row: AttemptRow) -> str:
    one = row.rank
    if one is None:
        return ""
    pace = "" if one.step_s is None else f" {one.step_s:.2f} s/step"
    return f"{one.state}{pace}{f', {one.cause}' if one.cause else ''}"


def _end(row: AttemptRow) -> str:
    attempt = row.attempt
    return attempt.exit.detail if attempt.exit else attempt.note
