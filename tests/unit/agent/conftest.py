"""A fixture of the tests of the agent's core; a module may have its own instead."""

import pytest

from support.node.rig import MAX, Rig, wall


@pytest.fixture
def rig() -> Rig:
    """Two idle GPUs and a lease for all of both."""
    made = Rig()
    made.ready()
    made.lease(wall(2 * MAX))
    made.effects.clear()
    return made
