"""Floods by one member: what it may ask, as fast as it can, and bytes that ask for nothing."""

import itertools
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from wattline_bench.abuse.attack import SOURCE, Attack, Target
from wattline_bench.abuse.stolen import POLL_MS, Connection, answered, asked, flood, hello
from wattline_bench.rig.hails import Hailer
from wattline_protocol.job.selection import MAX_WORD_CHARS, MAX_WORDS, Selection
from wattline_protocol.job.spec import ArraySpec, JobSpec, Resources
from wattline_protocol.text.endpoints import split_endpoint
from wattline_protocol.views.history_views import MAX_SUBJECTS, GetHistory, Subject
from wattline_protocol.views.power_views import WhatIfPower
from wattline_protocol.views.report_views import GetReport
from wattline_protocol.wire.client_messages import (
    AckProblem,
    Cancel,
    GetSite,
    Hold,
    ListEvents,
    ListJobs,
    Release,
    Request,
    Submit,
    WhatIf,
)
from wattline_protocol.wire.codec import MAX_MESSAGE_BYTES
from wattline_protocol.wire.event_log import ListProblems, ProblemList
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon

UNDER_WAY = 64
"""Requests without an answer: more than an honest client ever has."""
HALF_OPEN = 500
"""Connections that stop in the middle of their greeting; then the oldest is replaced."""
ZMTP_GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x01" + b"CURVE".ljust(20, b"\0") + b"\0" * 32

SMALL = JobSpec(name="flood", command=("true",), resources=Resources(gpus_per_node=1))
MANY = JobSpec(
    name="many",
    command=("true",),
    resources=Resources(gpus_per_node=1),
    array=ArraySpec(tuple(range(10_000))),
)
LARGE = JobSpec(name="wide", command=("true",), resources=Resources(nodes=8, gpus_per_node=8))


def lists(target: Target, until_s: float) -> int:
    """Every job that is listed, 10,000 at once."""
    return flood(target.submitter, until_s, lambda _: ListJobs(), under_way=UNDER_WAY)


def events(target: Target, until_s: float) -> int:
    """The newest 10,000 events."""
    newest = ListEvents(-10_000, 10_000)
    return flood(target.submitter, until_s, lambda _: newest, under_way=UNDER_WAY)


def site(target: Target, until_s: float) -> int:
    """The whole site."""
    return flood(target.submitter, until_s, lambda _: GetSite(), under_way=UNDER_WAY)


def report(target: Target, until_s: float) -> int:
    """Accounts of all time."""
    return flood(target.submitter, until_s, lambda _: GetReport(), under_way=UNDER_WAY)


def what_if(target: Target, until_s: float) -> int:
    """What would become of a large gang."""
    return flood(target.submitter, until_s, lambda _: WhatIf(LARGE), under_way=UNDER_WAY)


def history(target: Target, until_s: float) -> int:
    """The longest history of as many subjects as may be asked for, at the smallest step."""
    domains = [Subject("domain", name) for name in target.domains]
    nodes = [Subject(kind, name) for name in target.nodes for kind in ("gpu", "node")]
    whole = GetHistory((*domains, *nodes)[:MAX_SUBJECTS], step_s=1)
    return flood(target.submitter, until_s, lambda _: whole, under_way=UNDER_WAY)


def what_if_power(target: Target, until_s: float) -> int:
    """What would become of everything that runs, with the root of the power tree halved or lost."""
    root = target.domains[0]
    kinds: itertools.cycle[Request] = itertools.cycle(
        (WhatIfPower(root, fraction=0.5), WhatIfPower(root, fails=True))
    )
    _submitted_many(target, until_s)
    return flood(target.submitter, until_s, lambda _: next(kinds), under_way=UNDER_WAY)


def _submitted_many(target: Target, until_s: float) -> None:
    """So that every GPU has a task."""
    bundle = target.submitter
    with Connection(bundle, bundle.client_endpoint) as connection:
        connection.say(hello(), until_s)
        answered(connection, 1, Submit(MANY, secrets.token_hex(8)), until_s)


def operator_acts(target: Target, until_s: float) -> int:
    """Cordons of GPUs and acknowledgements of a problem, made and withdrawn again and again."""
    problem = _a_problem(target, until_s)
    acts: list[Request] = []
    for node in target.nodes:
        acts += [Cordon(node, "0", "flood"), AckProblem(problem)]
        acts += [Uncordon(node, "0"), AckProblem(problem, withdraw=True)]
    turns = itertools.cycle(acts)
    return flood(target.operator, until_s, lambda _: next(turns), under_way=UNDER_WAY)


def _a_problem(target: Target, until_s: float) -> int:
    """Number of an open one, which the agent of the attacker's own node reports."""
    hailer = Hailer(target.agent.name, gpus=8)
    hailer.reports("flood")
    bundle, asks = target.operator, itertools.count()
    with (
        Connection(target.agent, target.agent.agent_endpoint) as agent,
        Connection(bundle, bundle.client_endpoint) as operator,
    ):
        agent.say(hailer.hello(secrets.token_bytes(16)), until_s)
        operator.say(hello(), until_s)
        while time.monotonic() < until_s:
            found = answered(operator, next(asks), ListProblems(), until_s)
            if isinstance(found, ProblemList) and found.problems:
                return found.problems[0].number
            for data in agent.heard(POLL_MS):
                for reply in hailer.heard(data):
                    agent.say(reply, until_s)
            if hailer.is_member:
                agent.say(hailer.beat(), until_s)
    raise RuntimeError("no problem was open in time")


def globs(target: Target, until_s: float) -> int:
    """Acts and lists whose filters are costly patterns that match nothing."""
    words = tuple(f"{'*a' * (MAX_WORD_CHARS // 2 - 2)}{number:03}" for number in range(MAX_WORDS))
    which = Selection(names=words)
    kinds: itertools.cycle[Request] = itertools.cycle(
        (Cancel(which), Hold(which), Release(which), ListJobs(which=which))
    )
    return flood(target.submitter, until_s, lambda _: next(kinds), under_way=UNDER_WAY)


def submits(target: Target, until_s: float) -> int:
    """Jobs, singly and now and then as a large array."""
    run = secrets.token_hex(8)

    def request(number: int) -> Request:
        return Submit(SMALL if number % 50 else MANY, f"{run}-{number}")

    return flood(target.submitter, until_s, request, under_way=UNDER_WAY)


def oversize(target: Target, until_s: float) -> int:
    """Messages just above the limit, and far above it."""
    above = (b"\0" * (MAX_MESSAGE_BYTES + 1), b"\0" * (3 * MAX_MESSAGE_BYTES))
    return _bytes(target, until_s, lambda number: above[number % 8 == 7])


def junk(target: Target, until_s: float) -> int:
    """Random bytes, and requests that end in the middle."""
    whole = asked(1, Submit(MANY, "x"))
    kinds = (secrets.token_bytes(64), secrets.token_bytes(65_536), whole[: len(whole) // 2], b"")
    return _bytes(target, until_s, lambda number: kinds[number % len(kinds)])


def half_handshakes(target: Target, until_s: float) -> int:
    """Connections to both sockets that stop after the ZMTP greeting or before it."""
    ends = [
        (host, int(port))
        for host, port in map(
            split_endpoint, (target.submitter.client_endpoint, target.agent.agent_endpoint)
        )
    ]
    opened: deque[socket.socket] = deque()
    tried = 0
    while time.monotonic() < until_s:
        tried += 1
        with suppress(OSError):
            opened.append(_half_open(ends[tried % 2], is_greeted=tried % 4 < 2))
        if len(opened) > HALF_OPEN:
            opened.popleft().close()
    for each in opened:
        each.close()
    return tried


def beats(target: Target, until_s: float) -> int:
    """Beats of one agent, many thousands a second."""
    tried = 0
    hailer = Hailer(target.agent.name, gpus=8)
    with Connection(target.agent, target.agent.agent_endpoint) as connection:
        connection.say(hailer.hello(), until_s)
        while time.monotonic() < until_s:
            for data in connection.heard(0 if hailer.is_member else POLL_MS):
                for reply in hailer.heard(data):
                    connection.say(reply, until_s)
            if hailer.is_member:
                tried += connection.say(hailer.beat(), until_s)
    return tried


def hellos(target: Target, until_s: float) -> int:
    """Greetings of one agent: each makes a new incarnation, which is saved before it is used."""
    tried = 0
    hailer = Hailer(target.agent.name, gpus=8)
    with Connection(target.agent, target.agent.agent_endpoint) as connection:
        while time.monotonic() < until_s:
            tried += connection.say(hailer.hello(secrets.token_bytes(16)), until_s)
            for data in connection.heard():
                for reply in hailer.heard(data):
                    connection.say(reply, until_s)
    return tried


def _bytes(target: Target, until_s: float, data: Callable[[int], bytes]) -> int:
    """Say bytes on a greeted connection, in a new one whenever it is cut."""
    tried = 0
    bundle = target.submitter
    with Connection(bundle, bundle.client_endpoint) as connection:
        connection.say(hello(), until_s)
        while time.monotonic() < until_s:
            tried += connection.say(data(tried), until_s)
            connection.heard()
    return tried


def _half_open(end: tuple[str, int], *, is_greeted: bool) -> socket.socket:
    made = socket.create_connection(end, timeout=1.0, source_address=(SOURCE, 0))
    made.sendall(ZMTP_GREETING if is_greeted else ZMTP_GREETING[:10])
    return made


FLOODS = (
    Attack("lists", lists),
    Attack("events", events),
    Attack("site", site),
    Attack("report", report),
    Attack("what-if", what_if),
    Attack("what-if-power", what_if_power),
    Attack("history", history),
    Attack("globs", globs),
    Attack("submits", submits),
    Attack("oversize", oversize),
    Attack("junk", junk),
    Attack("half-handshakes", half_handshakes),
    Attack("beats", beats),
    Attack("hellos", hellos),
    Attack("operator-acts", operator_acts),
)
