"""Rules of a reference machine for tasks that save checkpoints, after which isolation ends them.

A part of `tests/property/test_core_machine.py`.
"""

from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from support.core.reserving_rules import NODES, ReservingRules, choices, nodes
from wattline_protocol.ids import NodeId, UnixTime
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint

SAVED = SavedCheckpoint(step=10, bytes=1 << 20, save_s=1.0, unix_s=UnixTime(1.0))


class SavingRules(ReservingRules):
    """Checkpoints on storage that all nodes mount."""

    @rule(node=nodes, at=choices, is_leased=st.booleans())
    def save(self, node: str, at: int, *, is_leased: bool) -> None:
        """A keeper that does not grant the lease which follows runs its task on in isolation."""
        tasks = self.h.agents[NodeId(node)].tasks.values()
        running = [task for task in tasks if task.phase == "running"]
        if running:
            task = running[at % len(running)]
            task.checkpoint, task.is_lease_refused = SAVED, not is_leased


def save_any(m: SavingRules, r: Random) -> None:
    """A step of a walk."""
    m.save(r.choice(NODES), r.randint(0, 9), is_leased=r.random() < 0.5)
