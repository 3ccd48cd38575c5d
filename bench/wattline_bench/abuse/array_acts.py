"""Floods by acts on the attacker's own arrays, each of as many tasks as one act may change."""

import secrets
import time
from collections.abc import Callable

from wattline_bench.abuse.attack import Attack, Target
from wattline_bench.abuse.floods import MANY
from wattline_bench.abuse.stolen import Connection, answered, hello
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import Selection, Span, only
from wattline_protocol.wire.client_messages import (
    Cancel,
    Hold,
    Release,
    Request,
    Requeue,
    Submit,
    Submitted,
)


def holds(target: Target, until_s: float) -> int:
    """Every index of an array is held and released by itself, again and again."""

    def acts(job: JobId) -> tuple[Request, ...]:
        each = Selection((Span(job, job, ((0, MANY.gang_count - 1),)),))
        return Hold(each), Release(each), Hold(only(job)), Release(only(job))

    return _repeated(target, until_s, acts)


def cancels(target: Target, until_s: float) -> int:
    """An array is cancelled and requeued, again and again."""

    def acts(job: JobId) -> tuple[Request, ...]:
        return Cancel(only(job)), Requeue(only(job), secrets.token_hex(8))

    return _repeated(target, until_s, acts)


def _repeated(target: Target, until_s: float, acts: Callable[[JobId], tuple[Request, ...]]) -> int:
    """Do these to one array; in the end it is cancelled."""
    bundle, tried = target.submitter, 1
    with Connection(bundle, bundle.client_endpoint) as connection:
        connection.say(hello(), until_s)
        done = answered(connection, 0, Submit(MANY, secrets.token_hex(8)), until_s)
        if not isinstance(done, Submitted):
            raise RuntimeError(f"an array is not accepted: {done}")
        while time.monotonic() < until_s:
            for act in acts(done.job):
                answered(connection, tried, act, until_s)
                tried += 1
        answered(connection, tried, Cancel(only(done.job)), time.monotonic() + 1.0)
    return tried


OF_ARRAYS = (Attack("array-holds", holds), Attack("array-cancels", cancels))
