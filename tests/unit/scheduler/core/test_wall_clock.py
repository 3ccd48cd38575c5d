"""The wall clock is only written down: whatever it does, the same happens at the same time."""

import random

import pytest

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import DomainId, NodeId, Now, UnixTime
from wattline_protocol.wire.agent_messages import ToAgent
from wattline_protocol.wire.client_messages import Shed

TASK_LEASE_S = 60.0
SHED_S = 40.0


class JumpingClock(Harness):
    """A scheduler whose wall clock is set anew before every look at it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        super().__init__(site().rack("a", 2).times(task_lease_s=TASK_LEASE_S).build())

    @property
    def now(self) -> Now:
        steady = super().now
        return Now(steady.mono_s, UnixTime(steady.unix_s + self.rng.uniform(-1e6, 1e6)))


def history(h: Harness) -> list[tuple[NodeId, ToAgent]]:
    """A shed for a time, a failure with its back-off, a node cut off beyond its task lease."""
    h.join()
    h.run(2)
    number = h.submit(job().gpus(2).retries(1).stops_on_isolation())
    h.do(Shed(DomainId("site"), fraction=0.5, for_s=SHED_S))
    h.run(5)
    h.end_tasks(code=3)
    h.run(SHED_S)
    assert h.gang(number).attempt == 2, "tried again after its back-off"
    assert not h.cluster.state.limits, "the shed has ended in time"
    h.cut_off.add(NodeId(h.gang(number).live[0].node))
    h.run(TASK_LEASE_S * 2)
    assert h.gang(number).attempt == 3, "runs elsewhere once its task lease has run out"
    h.cut_off.clear()
    h.run(5)
    return h.sent


@pytest.mark.parametrize("seed", range(3))
def test_a_jumping_wall_clock_changes_no_message(seed: int) -> None:
    steady = Harness(site().rack("a", 2).times(task_lease_s=TASK_LEASE_S).build())
    assert history(JumpingClock(seed)) == history(steady)
