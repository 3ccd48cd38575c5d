"""Honest members beside an attack, each in a process of its own: how long their requests take."""

import time
from collections.abc import Callable
from itertools import repeat
from multiprocessing.connection import Connection

from wattline_bench.rig.plain import ANSWER_S, PlainClient
from wattline_bench.serving.load import BODY, PATIENT_MS, Load, posts
from wattline_protocol.job.selection import Selection, Span
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.client_messages import Cancel

PAUSE_S = 0.02
WARM_UP_S = 0.5

SMALL = JobSpec(name="small", command=("true",), resources=Resources(gpus_per_node=1))

Samples = list[float]
"""Seconds each; one that was not answered counts as `ANSWER_S` or longer."""


def submit_jobs(bundle: JoinBundle, pipe: Connection) -> None:
    """Whenever a time comes through the pipe: submit small jobs until then, one after the other,
    and cancel each, which counts as well."""
    client = PlainClient(bundle)
    _serve(pipe, lambda until_s: _submit_until(client, until_s))
    client.close()


def send_http(url: str, pipe: Connection) -> None:
    """Whenever a time comes through the pipe: infer by HTTP until then, one after the other."""
    load = Load(url, 1, posts(repeat(BODY % 0)))
    load.closed_loop(WARM_UP_S)
    _serve(pipe, lambda until_s: _http_until(load, until_s))
    load.close()


def _serve(pipe: Connection, measured: Callable[[float], Samples]) -> None:
    pipe.send("ready")
    while (until_s := pipe.recv()) is not None:
        pipe.send(measured(until_s))


def _submit_until(client: PlainClient, until_s: float) -> Samples:
    samples: Samples = []
    number = 0
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        client.submit(number, SMALL, f"{began_s}-{number}")
        try:
            job = client.accepted()
            samples.append(time.monotonic() - began_s)
            began_s = time.monotonic()
            client.ask(number + 1, Cancel(Selection(jobs=(Span(job, job),))))
            client.next()
            samples.append(time.monotonic() - began_s)
        except RuntimeError:
            return [*samples, max(ANSWER_S, time.monotonic() - began_s)]
        number += 2
        time.sleep(PAUSE_S)
    return samples


def _http_until(load: Load, until_s: float) -> Samples:
    samples: Samples = []
    while time.monotonic() < until_s:
        [(status, took_s)] = load.closed_loop(0.0)
        samples.append(took_s if status == 200 else max(took_s, PATIENT_MS / 1e3))
        time.sleep(PAUSE_S)
    return samples
