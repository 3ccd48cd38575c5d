"""Submits a job; with `wait` blocks until it has ended."""

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from wattline import exits
from wattline.client import Client, NotFound, Unavailable, Unreachable
from wattline.client.submit_dir import this_directory
from wattline.failures import ActFailed
from wattline.show.screen import put, put_error
from wattline.slurm.job import script_job
from wattline.slurm.job_table import Surroundings
from wattline.slurm.script import SHEBANG, is_script
from wattline.verbs.run import Outcome
from wattline_protocol.ids import JobId
from wattline_protocol.job.file import MAX_JOB_CHARS, JobFileError, job_from_options, parse_job
from wattline_protocol.job.secret_values import exposed_hint
from wattline_protocol.job.selection import LAST
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.routing.file import is_route_file, parse_routes
from wattline_protocol.views.site_views import ENDED_STATES, ExplainView, JobView

FAILED_WITHOUT_CODE = 1

NEXT_ATTEMPT_S = 0.2
"""Poll interval for another attempt, or for the end of the job."""


FIRST_REASON_S = 1.0
"""Time for which a job may be pending before the reason is printed."""

NEXT_REASON_S = 10.0
"""Minimum time between two reasons: their figures change with each job that ends."""


class Submission(msgspec.Struct, frozen=True):
    """Output of `submit`: the job number, and the job once it was waited for."""

    job: JobId
    name: str
    is_quiet: bool
    ended: JobView | None = None
    warning: str = ""
    """About the job, by the scheduler."""


class Declared(msgspec.Struct, frozen=True):
    """Output of `submit` of routes."""

    text: str


def submit(
    client: Client,
    *,
    file: str | None,
    command: tuple[str, ...],
    quiet: bool,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> Outcome:
    """Submit the job specified by file and flags; with `wait` block until it has ended. A file of
    `kind = "route"` declares its routes."""
    if file is not None and not command and is_route_file(text := _text(Path(file))):
        given = [name for name, value in options.items() if value not in (None, False, ())]
        if given or wait or quiet:
            raise ActFailed(f"{file} declares routes, which take no options", exits.USAGE)
        return Outcome(Declared(client.declare_routes(parse_routes(text, file))))
    spec = job_spec(file, command, options)
    put_hints(spec)
    answer = client.submit_warned(spec)
    job, warning = answer.job, answer.warning
    put_warning(warning)
    if not wait:
        return Outcome(Submission(job, spec.name, quiet, warning=warning))
    if not quiet:
        put_error(f"Submitted job {job} ({spec.name}); waiting for its end.")
    report = (lambda _: None) if quiet or as_json else PendingNotes()
    try:
        if has_one_task(spec) and not (quiet or as_json):
            for piece in output(client, job, report):
                put(piece)
        ended = client.wait(job, seen=report)
    except KeyboardInterrupt:
        put_error(
            f"\nJob {job} ({spec.name}) continues. `wattline logs {job} -f` shows its output, "
            f"`wattline cancel {job}` stops it."
        )
        raise
    return Outcome(Submission(job, spec.name, quiet, ended, warning), exit_status(ended))


def put_hints(spec: JobSpec) -> None:
    """Prints on stderr what the user may not have meant."""
    for hint in filter(None, (shell_hint(spec.command), exposed_hint(spec.env))):
        put_error(hint)


def put_warning(text: str) -> None:
    """Prints the scheduler's warning about a job on stderr; empty = there is none."""
    if text:
        put_error(f"warning: {text}")


def has_one_task(spec: JobSpec) -> bool:
    """Whether there is a single log, which can be shown completely."""
    return spec.gang_count == 1 and spec.gang_size == 1 and spec.kind != "service"


class PendingNotes:
    """Prints on stderr why a job is pending: after a second, and when the reason has changed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = ""
        self._next_s = clock() + FIRST_REASON_S

    def __call__(self, view: JobView) -> None:
        is_new = view.reason not in ("", self._said)
        if view.state not in ("PENDING", "HELD") or not is_new or self._clock() < self._next_s:
            return
        self._said = view.reason
        self._next_s = self._clock() + NEXT_REASON_S
        put_error(f"Job {view.id} ({view.name}) is {view.state}: {view.reason}")


def output(
    client: Client, job: int, seen: Callable[[JobView], None] = lambda _: None
) -> Iterator[bytes]:
    """Output of the task, attempt by attempt, until the job has ended; `seen` gets each view."""
    shown, is_ended = 0, False
    while not is_ended:
        with suppress(Unreachable):
            view = client.job(job)
            seen(view)
            is_ended = view.state in ENDED_STATES
            if view.started_unix_s is None and not is_ended:
                time.sleep(NEXT_ATTEMPT_S)
                continue  # following a log that is not written yet would show no reason
        newest = shown
        with suppress(NotFound, Unavailable, Unreachable):  # no log: never started, or lost
            for piece in client.log(job, follow=True):
                if piece.ref.attempt <= shown:
                    break
                newest = piece.ref.attempt
                yield piece.data
            shown = newest
        if not is_ended:
            time.sleep(NEXT_ATTEMPT_S)


SHELL_WORDS = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1"}


def shell_hint(command: Sequence[str]) -> str:
    """Advice where a command seems to need a shell, which no job gets. Empty = none."""
    is_line = len(command) == 1 and " " in command[0].strip()
    if not is_line and not SHELL_WORDS.intersection(command):
        return ""
    line = command[0] if is_line else " ".join(command)
    found = (
        "the command is one word with spaces" if is_line else "the command is not run by a shell"
    )
    return f"hint: {found}; for a shell line write: -- sh -c {shlex.quote(line)}"


def what_if(
    client: Client, *, file: str | None, command: tuple[str, ...], **options: Any
) -> ExplainView:
    """What would happen to that job."""
    if file is not None and (file == LAST or file.isdecimal()) and not Path(file).exists():
        text = f"no job file {file}; of a job that is submitted already: wattline explain {file}"
        raise ActFailed(text, exits.NOT_FOUND)
    return client.what_if(job_spec(file, command, options))


def job_spec(file: str | None, command: tuple[str, ...], options: dict[str, Any]) -> JobSpec:
    """The job; raises JobFileError or ActFailed with error and place."""
    for name in ("workdir", "submit_dir"):
        if options.get(name):
            options[name] = os.path.abspath(options[name])  # noqa: PTH100 - keeps links
    if file is None and not command:
        raise ActFailed(
            "nothing to submit: specify a job file or a command, as in "
            "`--gpus 1 -- python train.py`",
            exits.USAGE,
        )
    if file is None:
        return job_from_options(command=list(command), **options)
    text = _text(Path(file))
    if is_script(text, file):
        return _of_script(text, file, command, options)
    try:
        return parse_job(text, file, command=list(command), **options)
    except JobFileError as error:
        raise JobFileError([*error.problems, *_script_hint(file, text)]) from error


def _of_script(
    text: str, file: str, arguments: tuple[str, ...], options: dict[str, Any]
) -> JobSpec:
    """The job of a script, which takes what follows `--` as its arguments."""
    directory = options.get("submit_dir") or this_directory()
    job = script_job(text, file, arguments, Surroundings(options, os.environ, directory))
    for hint in job.hints:
        put_error(f"hint: {hint}")
    return job.spec


def _script_hint(file: str, text: str) -> list[str]:
    """How to run a script that sbatch would refuse too, as it names no interpreter."""
    program = {".py": "python", ".sh": "bash"}.get(Path(file).suffix)
    if program is None or text.startswith(SHEBANG):
        return []
    line = f"wattline submit -- {program} {shlex.quote(file)}"
    return [f"a job file is TOML, and a script begins with {SHEBANG}; without that: {line}"]


def _no_file(word: str) -> str:
    """Error text, with the syntax of a command where the word seems to be one."""
    is_line = " " in word.strip()
    if not is_line and shutil.which(word) is None:
        return f"no job file {word}"
    command = f"sh -c {shlex.quote(word)}" if is_line else f"{word} ..."
    return f"no job file {word}; a command follows --: wattline submit -- {command}"


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as opened:
            return opened.read(MAX_JOB_CHARS + 1)
    except FileNotFoundError:
        raise ActFailed(_no_file(str(path)), exits.NOT_FOUND) from None
    except OSError as error:
        raise ActFailed(f"cannot read {path}: {error.strerror}", exits.NOT_FOUND) from error
    except UnicodeDecodeError as error:
        raise ActFailed(f"{path} is not UTF-8 text; a job file is TOML", exits.USAGE) from error


def exit_status(job: JobView) -> int:
    """Exit status of `submit --wait`: the job's own status, if it has one."""
    match job.state:
        case "COMPLETED":
            return exits.OK
        case "TIMEOUT":
            return exits.JOB_TIMEOUT
        case "CANCELLED":
            return exits.JOB_CANCELLED
        case _:
            return job.exit_code or FAILED_WITHOUT_CODE
