"""Rules of a reference machine for gangs whose ranks report steps.

A part of `tests/property/test_core_machine.py`.
"""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from support.core.reserving_rules import nodes
from support.core.serving_rules import ServingRules
from wattline_protocol.ids import NodeId
from wattline_protocol.wire.task_reports.rank_steps import RankSteps

BUSY_S = (0.0, 0.5, 0.6, 2.0, 1e8)
WANTS_MW = (None, 300_000, 900_000)


class TrainingRules(ServingRules):
    """Training beside whatever else there is."""

    @rule(node=nodes, busy_s=st.sampled_from(BUSY_S), wants_mw=st.sampled_from(WANTS_MW))
    def ranks_report(self, node: str, busy_s: float, wants_mw: int | None) -> None:
        """Whatever programs invent of their steps, and caps that bind or do not."""
        agent = self.h.agents[NodeId(node)]
        agent.wants_mw = wants_mw
        for ref, task in agent.tasks.items():
            step = 10 * round(self.h.mono_s)
            task.ranks = (RankSteps(ref.task % 2, 1, step, busy_s, busy_s, 20),)
