"""Processes of each attempt in the keeper's table: found through `tree`, and signalled here.

A scan reads every process of the host, some milliseconds for some hundreds, and tasks may fork
thousands. So one scan serves all attempts, and the next one comes later: else hundreds of tasks
that are cancelled together would have as many scans, while leases and answers wait.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from signal import SIGTERM

from wattline_agent.keeper.attempt import Attempt, boottime_s
from wattline_agent.keeper.life import POLL_S
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.warden import send_signal


class ProcessGroups:
    """Processes of the attempts that have not ended, as listed in the attempt table."""

    def __init__(
        self,
        attempt: Mapping[str, Attempt],
        scan: Callable[[], dict[int, tree.Process]] = tree.all_processes,
        clock: Callable[[], float] = boottime_s,
    ) -> None:
        self._attempts = attempt
        self._scan, self._clock = scan, clock
        self._found: dict[str, list[tree.Process]] = {}
        self._began_s = self._next_s = 0.0
        """When the last scan began, and before which there is none."""
        self.warden_pid = 0
        """A child of the keeper that belongs to no attempt; 0 = none."""
        self._given_up: set[int] = set()
        """Processes that could not be ended."""

    def give_up(self, pids: Iterable[int]) -> None:
        """Stop attributing these processes to an attempt."""
        self._given_up.update(pids)

    def reaped(self, pid: int) -> None:
        """The process was reaped."""
        self._given_up.discard(pid)
        if pid == self.warden_pid:
            self.warden_pid = 0

    def is_empty(self, attempt: Attempt) -> bool | None:
        """Whether an attempt whose first process was reaped has no process left; None: known with
        the next scan. Cheap when true: then every child of ours is another's first process, and
        orphans would be children."""
        if attempt.group is not None and attempt.group.is_populated():
            return False
        children = tree.children_of(os.getpid())
        roots = {h.life.pid for h in self._attempts.values() if h.life.status is None}
        if children is not None and set(children) <= roots | {self.warden_pid}:
            return True
        processes = self.since(attempt, attempt.life.exited_boot_s or 0.0)
        return None if processes is None else not processes

    def of(self, attempt: Attempt) -> list[tree.Process]:
        """Living processes of one attempt, by the last scan if that is recent."""
        self._scan_if_due()
        return self._found.get(attempt.life.spec.key, [])

    def since(self, attempt: Attempt, since_s: float) -> list[tree.Process] | None:
        """Living processes of one attempt by a scan that began no earlier; None: there is none
        yet."""
        found = self.of(attempt)
        return found if self._began_s >= since_s else None

    def all(self) -> dict[str, list[tree.Process]]:
        """Living processes of every living attempt, by the last scan if that is recent: attempts
        whose end is on disk since then are not among them."""
        self._scan_if_due()
        return {key: found for key, found in self._found.items() if key in self._attempts}

    def _scan_if_due(self) -> None:
        now_s = self._clock()
        if now_s >= self._next_s:
            self._found, self._began_s = self._look(), now_s
            ended_s = self._clock()
            self._next_s = ended_s + max(POLL_S, ended_s - now_s)

    def _look(self) -> dict[str, list[tree.Process]]:
        """An orphan without an attempt's mark is counted for the only living attempt; with several,
        for none."""
        table = self._scan()
        identities = {
            key: attempt.identity for key, attempt in self._attempts.items() if attempt.life.pid
        }
        ours = [p.pid for p in table.values() if p.parent == os.getpid()]
        mine = [pid for pid in ours if pid != self.warden_pid and pid not in self._given_up]
        if len(identities) == 1:
            (key,) = identities
            return {key: tree.living_below(table, mine)}
        return tree.members(table, identities, mine)

    def request_stop(self, attempt: Attempt, number: int, since_s: float) -> bool:
        """Send the stop signal: SIGTERM to every process, another one to programs that handle it.
        False: not yet, there is no scan that began at `since_s` or later.

        Others would end by it: launchers, shells. So would the workers that such a program has
        forked, and they inherit its handler. Without a program that handles it, it is SIGTERM.
        """
        found = self.since(attempt, since_s)
        if found is None:
            return False
        processes = tree.parents_first(found)
        programs = [] if number == SIGTERM else tree.topmost(processes, number)
        for process in programs or processes:
            send_signal(process.pid, number if programs else SIGTERM)
        return True

    def signal(self, attempt: Attempt, number: int) -> None:
        """Send a signal to every process of an attempt."""
        for process in tree.parents_first(self.of(attempt)):
            send_signal(process.pid, number)
