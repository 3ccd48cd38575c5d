"""Processes of each attempt in the keeper's table: found through `tree`, and signalled here."""

import os
from collections.abc import Iterable, Mapping
from signal import SIGTERM

from wattline_agent.keeper.attempt import Attempt
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.warden import send_signal


class ProcessGroups:
    """Processes of the attempts that have not ended, as listed in the attempt table."""

    def __init__(self, attempt: Mapping[str, Attempt]) -> None:
        self._attempts = attempt
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

    def is_empty(self, attempt: Attempt) -> bool:
        """Whether an attempt whose first process was reaped has no process left. Cheap when true:
        then every child of ours is another's first process, and orphans would be children."""
        if attempt.group is not None and attempt.group.is_populated():
            return False
        children = tree.children_of(os.getpid())
        roots = {h.life.pid for h in self._attempts.values() if h.life.status is None}
        if children is not None and set(children) <= roots | {self.warden_pid}:
            return True
        return not self.of(attempt)

    def of(self, attempt: Attempt) -> list[tree.Process]:
        """Living processes of one attempt."""
        return self.all()[attempt.life.spec.key]

    def all(self) -> dict[str, list[tree.Process]]:
        """Living processes of every living attempt. An orphan without an attempt's mark is counted
        for the only living attempt; with several, for none."""
        table = tree.all_processes()
        identities = {
            key: attempt.identity for key, attempt in self._attempts.items() if attempt.life.pid
        }
        ours = [p.pid for p in table.values() if p.parent == os.getpid()]
        mine = [pid for pid in ours if pid != self.warden_pid and pid not in self._given_up]
        if len(identities) == 1:
            (key,) = identities
            return {key: tree.living_below(table, mine)}
        return tree.members(table, identities, mine)

    def request_stop(self, attempt: Attempt, number: int) -> None:
        """Send the stop signal: SIGTERM to every process, another one to programs that handle it.

        Others would end by it: launchers, shells. So would the workers that such a program has
        forked, and they inherit its handler. Without a program that handles it, it is SIGTERM.
        """
        processes = tree.parents_first(self.of(attempt))
        programs = [] if number == SIGTERM else tree.topmost(processes, number)
        for process in programs or processes:
            send_signal(process.pid, number if programs else SIGTERM)

    def signal(self, attempt: Attempt, number: int) -> None:
        """Send a signal to every process of an attempt."""
        for process in tree.parents_first(self.of(attempt)):
            send_signal(process.pid, number)
