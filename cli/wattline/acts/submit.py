"""Submits a job; with `wait` stays until it has ended."""

import os
from pathlib import Path
from typing import Any

import msgspec

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.show.screen import put_error
from wattline.verbs.run import Outcome
from wattline_protocol.ids import JobId
from wattline_protocol.job import JobSpec
from wattline_protocol.jobfile import MAX_JOB_CHARS, job_from_options, parse_job
from wattline_protocol.views import ExplainView, JobView

FAILED_WITHOUT_CODE = 1


class Submission(msgspec.Struct, frozen=True):
    """What `submit` prints: the number, and the job once it was waited for."""

    job: JobId
    name: str
    is_quiet: bool
    ended: JobView | None = None


def submit(
    client: Client,
    *,
    file: str | None,
    command: tuple[str, ...],
    quiet: bool,
    wait: bool,
    **options: Any,
) -> Outcome:
    """Submit the job that file and flags describe together."""
    spec = job_spec(file, command, options)
    job = client.submit(spec)
    if not wait:
        return Outcome(Submission(job, spec.name, quiet))
    if not quiet:
        put_error(f"Submitted job {job} ({spec.name}); waiting for its end.")
    ended = client.wait(job)
    return Outcome(Submission(job, spec.name, quiet, ended), exit_status(ended))


def what_if(
    client: Client, *, file: str | None, command: tuple[str, ...], **options: Any
) -> ExplainView:
    """What would become of that job."""
    return client.what_if(job_spec(file, command, options))


def job_spec(file: str | None, command: tuple[str, ...], options: dict[str, Any]) -> JobSpec:
    """The job; raises JobFileError or ActFailed that say what is wrong and where."""
    for name in ("workdir", "submit_dir"):
        if options.get(name):
            options[name] = os.path.abspath(options[name])  # noqa: PTH100 - keeps links
    if file is None and not command:
        raise ActFailed(
            "nothing to submit: name a job file, or give a command as in "
            "`wattline submit --gpus 1 -- python train.py`",
            exits.USAGE,
        )
    if file is None:
        return job_from_options(command=list(command), **options)
    return parse_job(_text(Path(file)), file, command=list(command), **options)


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as opened:
            return opened.read(MAX_JOB_CHARS + 1)
    except FileNotFoundError:
        raise ActFailed(f"there is no job file {path}", exits.NOT_FOUND) from None
    except OSError as error:
        raise ActFailed(f"cannot read {path}: {error.strerror}", exits.NOT_FOUND) from error
    except UnicodeDecodeError as error:
        raise ActFailed(f"{path} is not UTF-8 text; a job file is TOML", exits.USAGE) from error


def exit_status(job: JobView) -> int:
    """What `submit --wait` exits with: the job's own status as far as it has one."""
    match job.state:
        case "COMPLETED":
            return exits.OK
        case "TIMEOUT":
            return exits.JOB_TIMEOUT
        case "CANCELLED":
            return exits.JOB_CANCELLED
        case _:
            return job.exit_code or FAILED_WITHOUT_CODE
