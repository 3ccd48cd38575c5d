"""Floods by reads of the log of the attacker's own job, in the largest pieces."""

import secrets
import time

from wattline_bench.abuse.attack import Attack, Target
from wattline_bench.abuse.stolen import POLL_MS, Connection, answered, flood, hello
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import PRIORITIES, JobSpec, Resources
from wattline_protocol.wire.bounds import MAX_LOG_CHUNK_BYTES
from wattline_protocol.wire.client_messages import Cancel, FetchLog, Log, Submit, Submitted

LOG_BYTES = 16 * MAX_LOG_CHUNK_BYTES
UNDER_WAY = 512
"""Twice as many as the scheduler has under way."""


def reads(target: Target, until_s: float) -> int:
    """Pieces of a log on the real agent, many under way."""
    bundle = target.submitter
    with Connection(bundle, bundle.client_endpoint) as connection:
        connection.say(hello(), until_s)
        job = _written(connection, until_s)
        pieces = LOG_BYTES // MAX_LOG_CHUNK_BYTES
        try:
            return flood(
                bundle,
                until_s,
                lambda n: FetchLog(job, offset=n % pieces * MAX_LOG_CHUNK_BYTES),
                under_way=UNDER_WAY,
            )
        finally:
            answered(connection, 1, Cancel(only(job)), time.monotonic() + 1.0)


def _written(connection: Connection, until_s: float) -> JobId:
    """A job that runs, with a log of `LOG_BYTES`."""
    spec = JobSpec(
        name="log",
        command=("sh", "-c", f"yes | head -c {LOG_BYTES}; exec sleep 600"),
        priority=PRIORITIES["high"],
        resources=Resources(gpus_per_node=1),
    )
    done = answered(connection, 2, Submit(spec, secrets.token_hex(8)), until_s)
    if not isinstance(done, Submitted):
        raise RuntimeError(f"a job with a log is not accepted: {done}")
    number, last = 3, FetchLog(done.job, offset=LOG_BYTES - 1)
    while time.monotonic() < until_s:
        piece = answered(connection, number, last, until_s)
        if isinstance(piece, Log) and piece.data:
            break
        number += 1
        time.sleep(POLL_MS / 1e3)
    return done.job


OF_LOGS = (Attack("log-reads", reads),)
