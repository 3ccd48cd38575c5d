"""Submission directory: a job starts there, as with sbatch."""

import os

import msgspec

from wattline_protocol.job.spec import JobSpec
from wattline_protocol.job.values import absolute_path


def started_here(spec: JobSpec) -> JobSpec:
    """The job with this process's directory, unless it specifies a working directory."""
    if spec.workdir or spec.submit_dir:
        return spec
    return msgspec.structs.replace(spec, submit_dir=this_directory())


def this_directory() -> str:
    """The directory of this process; empty where it was removed, or its name is invalid in a job
    file: the job then starts in its task's directory."""
    try:
        here = os.getcwd()  # noqa: PTH109 - text, as it travels
        here.encode()
        return absolute_path(here)
    except (OSError, ValueError):
        return ""
