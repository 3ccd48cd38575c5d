"""The wall clock is only written down: whatever it does, leases and limits are kept as ever."""

import random

import pytest

from support.node.rig import MAX, Rig, ref, wall
from wattline_agent.core.effects import Effect, Notify, SaveUsage, Send, Spool
from wattline_protocol.ids import Now, UnixTime

W = 1000


class JumpingClock(Rig):
    """An agent whose wall clock is set anew before every look at it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        super().__init__()

    @property
    def now(self) -> Now:
        steady = super().now
        return Now(steady.mono_s, UnixTime(steady.unix_s + self.rng.uniform(-1e6, 1e6)))


def acts(rig: Rig) -> list[Effect]:
    """What the agent does to GPUs, tasks and its lease, and whether it says something: a lease, an
    outage beyond isolation and task lease, and a pause. Words carry the date, so only their kind
    counts; roll-ups are filed under it."""
    rig.ready(isolation="floor", task_lease_s=60.0)
    rig.lease(wall(2 * MAX))
    rig.start(ref(), 0)
    rig.pass_s(10)
    rig.lease(wall(600 * W))
    rig.pass_s(40, answered=False)
    rig.pass_s(5)
    rig.pause(ref())
    rig.pass_s(10)
    rig.resume(ref())
    rig.pass_s(5)
    dated = (SaveUsage, Spool, Notify)  # a task reads a notice by the clock of its node
    return [effect for effect in rig.effects if not isinstance(effect, (*dated, Send))]


@pytest.mark.parametrize("seed", range(3))
def test_a_jumping_wall_clock_changes_no_act(seed: int) -> None:
    steady, jumping = Rig(), JumpingClock(seed)
    assert acts(jumping) == acts(steady)
    said = [[type(e.message) for e in r.effects if isinstance(e, Send)] for r in (jumping, steady)]
    assert said[0] == said[1]
