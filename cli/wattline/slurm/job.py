"""The job that a script with `#SBATCH` lines describes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import msgspec

from wattline.slurm.job_table import Key, Surroundings, job_keys
from wattline.slurm.output_files import output_files
from wattline.slurm.script import BatchScript, Blame, read_script
from wattline.slurm.start import SCRIPT, START, command_of, start_text
from wattline_protocol.job.file import JobFileError, merged_job, name_of
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.job.values import environment
from wattline_protocol.text.toml import KeyPath

_MODULE = re.compile(r"^\s*(?:module|ml)\s", re.MULTILINE)
_LOGIN = re.compile(r"(?:^|\s)-(?:-login|[a-zA-Z]*l)")
_VARIABLE = re.compile(r"\bSLURM_[A-Z0-9_]+")


class ScriptJob(NamedTuple):
    """The job, and what its author may not expect."""

    spec: JobSpec
    hints: tuple[str, ...]


def script_job(text: str, source: str, arguments: Sequence[str], around: Surroundings) -> ScriptJob:
    """The job of the script in `text`; flags are laid over its directives. `around.directory` is
    where it starts. Raises JobFileError with all that is wrong."""
    script = read_script(text)
    given = {directive.option: directive for directive in script.directives}
    found = list(job_keys(given, around))
    blames = [*script.problems, *(one for one in found if isinstance(one, Blame))]
    name = PurePath(source).name
    keys = [
        Key(1, "name", name_of(name)),
        Key(1, "command", command_of(name, arguments)),
        *([Key(1, "submit_dir", around.directory)] if around.directory else []),
        *(one for one in found if isinstance(one, Key)),
    ]
    spec, wrong = _checked(keys, around.flags, source)
    files = output_files(given, is_one_node=spec is None or spec.resources.most_nodes == 1)
    if isinstance(files, Blame):
        blames.append(files)
    if spec is None or isinstance(files, Blame) or blames:
        raise JobFileError([*_located(blames, source), *wrong])
    start = start_text(spec, script.interpreter, files, given)
    env = {**spec.env, SCRIPT: text, START: start}
    try:
        environment(env)
    except ValueError as error:
        raise JobFileError([f"{source}: the script and [env] together: {error}"]) from None
    hints = tuple(_hints(script, spec, start, source))
    return ScriptJob(msgspec.structs.replace(spec, env=env), hints)


def _checked(
    keys: Sequence[Key], flags: Mapping[str, object], source: str
) -> tuple[JobSpec | None, Sequence[str]]:
    """The job, or what the check of all jobs finds wrong in it."""
    table: dict[str, Any] = {}
    lines: dict[KeyPath, int] = {}
    for line, path, value in keys:
        group, _, last = path.rpartition(".")
        (table.setdefault(group, {}) if group else table)[last] = value
        lines[tuple(path.split("."))] = line
    try:
        return merged_job(table, flags, lines, source), ()
    except JobFileError as error:
        return None, error.problems


def _located(blames: Sequence[Blame], source: str) -> Iterator[str]:
    for line, text in sorted(blames):
        yield f"{source}:{line}: {text}"


def _hints(script: BatchScript, spec: JobSpec, start: str, source: str) -> Iterator[str]:
    if script.unread:
        lines = ", ".join(map(str, script.unread))
        yield f"{source}: #SBATCH after the first command is not read, as in sbatch: line {lines}"
    if spec.resources.most_nodes > 1:
        yield f"{source} runs on each of its nodes, not on the first alone"
    if _MODULE.search(script.text) and not _LOGIN.search(" ".join(script.interpreter)):
        yield f"{source} calls module, which only a login shell knows: #!/bin/bash -l"
    has = set(_VARIABLE.findall(start))
    if missing := sorted(set(_VARIABLE.findall(script.text)) - has):
        yield f"{source} reads variables that are not set: {', '.join(missing)}"
