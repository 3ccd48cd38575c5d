"""Floods by terminals of the attacker's own jobs: input, output that is not read, attaches."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, cycle

from wattline_bench.abuse.attack import Attack, Target
from wattline_bench.abuse.stolen import (
    POLL_MS,
    Connection,
    answered,
    asked,
    flood,
    hello,
    responses,
)
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import Selection
from wattline_protocol.job.spec import PRIORITIES, JobSpec, Launch, Resources
from wattline_protocol.wire.client_messages import Cancel, Request, Submit, Submitted
from wattline_protocol.wire.task_reports.terminals import (
    MAX_INPUT_BYTES,
    Attach,
    Attached,
    ReadTerminal,
    TerminalTaken,
    WriteTerminal,
)

TERMINALS = 4
UNDER_WAY = 16
"""Requests of each terminal without an answer: an honest client has one of a kind."""
RETRY_S = 1.0
"""Until the next attach: a user has one a second."""
NAME = "terminal"
READER = ("sh", "-c", "stty raw -echo && exec cat >/dev/null")
WRITER = ("yes",)
SHELL = ("cat",)
INPUT = b"x" * MAX_INPUT_BYTES


class Terminal:
    """The terminal of a job of the attacker, with a client attached."""

    def __init__(self, job: JobId) -> None:
        self.job = job
        self.token = secrets.token_hex(16)
        self.taken = 0
        """Bytes of input that have arrived."""


def typed(target: Target, until_s: float) -> int:
    """Input in full messages, many under way, into programs that read it."""
    with _attached(target, READER, until_s) as (connection, terminals):
        return _written(connection, terminals, until_s)


def unread(target: Target, until_s: float) -> int:
    """Reads of terminals that are full of output, on a connection that receives nothing."""
    bundle, asks = target.submitter, count()
    with (
        _attached(target, WRITER, until_s) as (_, terminals),
        Connection(bundle, bundle.client_endpoint, is_read=False) as deaf,
    ):
        deaf.say(hello(), until_s)
        reads = [ReadTerminal(one.token, 0) for one in terminals]
        tried = 0
        while time.monotonic() < until_s:
            tried += sum(deaf.say(asked(next(asks), read), until_s) for read in reads)
        return tried


def attaches(target: Target, until_s: float) -> int:
    """Attaches to a job of its own and to one of another user, each with another token."""
    with _attached(target, SHELL, until_s, most=1) as (_, (own,)):
        jobs = cycle((own.job, target.others_job))
        return flood(
            target.submitter,
            until_s,
            lambda _: Attach(next(jobs), secrets.token_hex(16)),
            under_way=UNDER_WAY,
        )


@contextmanager
def _attached(
    target: Target, command: tuple[str, ...], until_s: float, most: int = TERMINALS
) -> Iterator[tuple[Connection, list[Terminal]]]:
    """Jobs on the real agent, with a client attached to each; cancelled at the end."""
    bundle, asks = target.submitter, count()
    with Connection(bundle, bundle.client_endpoint) as connection:

        def ask(request: Request) -> object:
            return answered(connection, next(asks), request, until_s)

        connection.say(hello(), until_s)
        try:
            terminals = [Terminal(_submitted(ask, command)) for _ in range(most)]
            for one in terminals:
                _attach(ask, one, until_s)
            yield connection, terminals
        finally:
            cancel = asked(next(asks), Cancel(Selection(names=(NAME,))))
            connection.say(cancel, time.monotonic() + RETRY_S)
            connection.heard(round(1e3 * RETRY_S))


def _submitted(ask: Callable[[Request], object], command: tuple[str, ...]) -> JobId:
    spec = JobSpec(
        name=NAME,
        command=command,
        priority=PRIORITIES["high"],
        resources=Resources(gpus_per_node=1),
        launch=Launch(pty=True),
    )
    done = ask(Submit(spec, secrets.token_hex(16)))
    if not isinstance(done, Submitted):
        raise RuntimeError(f"a job with a terminal is not accepted: {done}")
    return done.job


def _attach(ask: Callable[[Request], object], one: Terminal, until_s: float) -> None:
    while not isinstance(done := ask(Attach(one.job, one.token)), Attached):
        if time.monotonic() + RETRY_S > until_s:
            raise RuntimeError(f"job {one.job} has no attached client in time: {done}")
        time.sleep(RETRY_S)


def _written(connection: Connection, terminals: list[Terminal], until_s: float) -> int:
    """Keep so many writes of each terminal under way until then; how many were sent."""
    under_way: dict[int, Terminal] = {}
    asks, turns, tried = count(10**6), cycle(terminals), 0
    while time.monotonic() < until_s:
        is_full = len(under_way) >= UNDER_WAY * len(terminals)
        if not is_full:
            one, number = next(turns), next(asks)
            under_way[number] = one
            write = WriteTerminal(one.token, one.taken, INPUT)
            tried += connection.say(asked(number, write), until_s)
        for response in responses(connection.heard(POLL_MS if is_full else 0)):
            of = under_way.pop(response.ask, None)
            if of is not None and isinstance(response.answer, TerminalTaken):
                of.taken = max(of.taken, response.answer.taken)
    return tried


OF_TERMINALS = (
    Attack("terminal-input", typed),
    Attack("terminal-unread", unread),
    Attack("attaches", attaches),
)
