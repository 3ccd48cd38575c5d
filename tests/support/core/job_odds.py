"""Jobs that no job file gives: what a client of another make may send."""

from typing import Any

import msgspec

from wattline_protocol.job.spec import ArraySpec, JobSpec, Launch, Limits, Resources, ServiceSpec

PLAIN = JobSpec(name="work", command=("true",))


def _with(**words: Any) -> JobSpec:
    return msgspec.structs.replace(PLAIN, **words)


ODD_JOBS: dict[str, JobSpec] = {
    "name with an escape sequence": _with(name="\x1b]0;owned\x07"),
    "name of half a megabyte": _with(name="n" * 2**19),
    "empty name": _with(name=""),
    "queue with a newline": _with(queue="night\n"),
    "account that is a path": _with(account="../../etc"),
    "reservation with an escape": _with(reservation="\x1b[2J"),
    "no command": _with(command=()),
    "NUL in the command": _with(command=("echo", "a\0b")),
    "NUL in a variable": _with(env={"X": "a\0b"}),
    "variable that is none": _with(env={"A=B": "c"}),
    "variable of Wattline": _with(env={"WATTLINE_JOB": "1"}),
    "relative workdir": _with(workdir="home/ada"),
    "workdir with a newline": _with(workdir="/a\nb"),
    "words without end": _with(command=("a",) * 5000),
    "label with an escape": _with(resources=Resources(labels={"rack": "\x1b[31m"})),
    "metric with a NUL": _with(power=msgspec.structs.replace(PLAIN.power, progress="a\0")),
    "profile that is none": _with(resources=Resources(mig="; rm -rf /")),
    "processes without torchrun": _with(launch=Launch(procs_per_node=3)),
    "service with an array": _with(
        kind="service", service=ServiceSpec(), array=ArraySpec(tuple(range(1)))
    ),
    "type of GPU without a GPU": _with(resources=Resources(gpus_per_node=0, gpu_type=("h100",))),
    "time that no text gives": _with(limits=Limits(runtime_s=1e-300)),
    "too many tasks": _with(resources=Resources(nodes=2), array=ArraySpec(tuple(range(10_000)))),
}
"""By what is odd about each."""
