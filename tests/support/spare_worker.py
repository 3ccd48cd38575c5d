"""A worker of pytest-xdist that uses what the others leave of the machine.

Tests of programs wait for processes much of their time; a third worker would use those cores, but
would delay the programs too. The last worker is therefore a spare one: at a lower priority, and
only for tests that start no programs.
"""

import os

import pytest
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

NICENESS = 5
"""Of the spare worker: a quarter of a core is left to it where two workers are busy on two cores,
so that none of its tests reaches its time limit."""
OF_PROGRAMS = ("tests/e2e/", "tests/integration/")


class SpareWorkerScheduling(LoadGroupScheduling):  # type: ignore[misc]
    """Groups of tests in their order, but for the spare worker: it takes those without programs,
    from the end."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if node.gateway.id == spare_id(self.numnodes):
            found = next(filter(self._is_without_programs, reversed(self.workqueue)), None)
            if found is None:
                node.shutdown()
                return
            self.workqueue.move_to_end(found, last=False)
        super()._assign_work_unit(node)

    def _is_without_programs(self, scope: str) -> bool:
        return not any(test.startswith(OF_PROGRAMS) for test in self.workqueue[scope])


def spare_id(count: int) -> str:
    """Name that xdist gives to the last of `count` workers."""
    return f"gw{count - 1}"


def lower_priority(config: pytest.Config) -> None:
    """Of this process, where it is the spare worker."""
    worker = getattr(config, "workerinput", {})
    if worker and worker["workerid"] == spare_id(worker["workercount"]):
        os.nice(NICENESS)
