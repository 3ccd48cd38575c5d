"""A program of the node itself, run by the keeper beside the tasks: the fetch process of data.

To the keeper it is an attempt of job 0, which no scheduler has: it has a log, and ends with its
keeper. No order is on disk for it, so that the agent takes it for no task.
"""

import time
from collections.abc import Sequence
from contextlib import suppress

from wattline_agent.core.ports import KeeperAbsent
from wattline_agent.executor.launch import NO_CORE_AT_ALL
from wattline_agent.keeper.client import KeeperClient, KeeperDown, KeeperRefused
from wattline_agent.keeper.spec import TaskSpec

LOG_BYTES = 1024 * 1024


class NodeProgram:
    """The program that was started last."""

    def __init__(self, keeper: KeeperClient, protocol: int) -> None:
        self._keeper, self._protocol = keeper, protocol
        self._key = ""

    def begin(self, argv: Sequence[str]) -> None:
        """Start it; the one before has ended. The second is its number. Raises
        KeeperAbsent."""
        before, self._key = self._key, f"0.0.{int(time.time())}"
        try:
            if before:
                self._keeper.notify("drop", keys=[before])
            with suppress(KeeperRefused):  # it has too many attempts, or ends: it is tried again
                self._keeper.ask("start", task=_spec(self._key, argv).to_json(self._protocol))
        except KeeperDown as error:
            raise KeeperAbsent(str(error)) from error


def _spec(key: str, argv: Sequence[str]) -> TaskSpec:
    """In the keeper's account, and without limits but that of a core: it has keys of stores."""
    return TaskSpec(
        key=key,
        argv=tuple(argv),
        env={},
        env_append={},
        cwd="/",
        rlimits=NO_CORE_AT_ALL,
        cpus=0,
        memory_bytes=0,
        grace_s=0.0,
        runtime_limit_s=0.0,
        lease_until_s=None,
        log_limit_bytes=LOG_BYTES,
        run_as="",
        own=(),
        make="",
        prefer_cwd="",
        pass_env=(),
    )
