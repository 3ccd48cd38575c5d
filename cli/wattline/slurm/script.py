"""Reads a job script: its interpreter, and its `#SBATCH` lines up to the first command."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple

from wattline.slurm.options import COMMANDS, LONG_OF, OPTIONS
from wattline_protocol.text.toml_fields import nearest, shown

MARK = "#SBATCH"
SHEBANG = "#!"
MAX_SCRIPT_BYTES = 56 * 1024
"""It travels in the variables of the job, which have a bound of 64 KiB in all."""
SHELLS = {"sh", "bash", "dash", "ksh", "zsh"}

_COMMAND = re.compile(
    r"(?:^|[;&|(`]|\b(?:then|do|else|exec|time|!)\s)\s*(?:[A-Za-z_]\w*=\S*\s+)*"
    rf"({'|'.join(COMMANDS)})(?=[\s)`;]|$)"
)


class Directive(NamedTuple):
    """One option of an `#SBATCH` line."""

    line: int
    option: str
    """Long name."""
    value: str
    """Empty: none was given."""


class Blame(NamedTuple):
    """What is wrong, and on which line."""

    line: int
    text: str


class BatchScript(NamedTuple):
    """A job script as it was read."""

    text: str
    interpreter: tuple[str, ...]
    directives: tuple[Directive, ...]
    problems: tuple[Blame, ...]
    unread: tuple[int, ...]
    """Lines with directives after the first command, which sbatch does not read either."""


def is_script(text: str, name: str) -> bool:
    """Whether a file in place of a job file is a script: it begins as sbatch requires it to."""
    return text.startswith(SHEBANG) and not name.endswith(".toml")


def read_script(text: str) -> BatchScript:
    """The script with all that is wrong in it."""
    lines = text.split("\n")
    end = next((at for at, line in enumerate(lines) if _is_command(line)), len(lines))
    directives: list[Directive] = []
    problems = list(_of_text(text))
    for number, line in enumerate(lines[:end], 1):
        if line.startswith(MARK):
            _read_line(number, line.removeprefix(MARK), directives, problems)
    interpreter = tuple(lines[0].removeprefix(SHEBANG).split(None, 1))
    if not interpreter:
        problems.append(Blame(1, "names no interpreter: write #!/bin/bash"))
    elif PurePath(interpreter[0]).name in SHELLS or _is_env_of_shell(interpreter):
        problems += _slurm_commands(lines[end:], end + 1)
    unread = tuple(n for n, line in enumerate(lines[end:], end + 1) if line.startswith(MARK))
    stripped = tuple(word.strip() for word in interpreter)
    return BatchScript(text, stripped, tuple(directives), tuple(problems), unread)


def _is_command(line: str) -> bool:
    word = line.strip()
    return bool(word) and not word.startswith("#")


def _is_env_of_shell(interpreter: Sequence[str]) -> bool:
    """`/usr/bin/env bash`."""
    return PurePath(interpreter[0]).name == "env" and not SHELLS.isdisjoint(interpreter[1:])


def _of_text(text: str) -> Iterator[Blame]:
    if "\r" in text:
        line = text[: text.index("\r")].count("\n") + 1
        yield Blame(line, "has DOS line ends, which its interpreter does not read: use dos2unix")
    if "\0" in text:
        yield Blame(text[: text.index("\0")].count("\n") + 1, "has a NUL character: not a script")
    if (size := len(text.encode())) > MAX_SCRIPT_BYTES:
        why = f"{size} bytes; a script has at most {MAX_SCRIPT_BYTES}: call the rest from a file"
        yield Blame(1, why)


def _slurm_commands(lines: Sequence[str], first: int) -> Iterator[Blame]:
    """What would fail on a node without Slurm."""
    for number, line in enumerate(lines, first):
        for found in _COMMAND.finditer(line) if not line.lstrip().startswith("#") else ():
            yield Blame(number, f"{found[1]}: {COMMANDS[found[1]]}")


def _read_line(number: int, rest: str, directives: list[Directive], problems: list[Blame]) -> None:
    """Split as sbatch splits: quotes, backslashes, and a comment from # on."""
    try:
        words = shlex.split(rest, comments=True)
    except ValueError as error:
        problems.append(Blame(number, f"{shown(rest.strip())}: {error}"))
        return
    try:
        directives += [Directive(number, name, value) for name, value in _options(words)]
    except ValueError as error:
        problems.append(Blame(number, str(error)))


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """(long name, value) of each option, as getopt_long reads them. Raises ValueError."""
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            given, equals, value = word[2:].partition("=")
            name = _long_name(given)
            takes = OPTIONS[name].takes
            if takes == "none" and equals:
                raise ValueError(f"--{name} takes no value")
            yield name, value if equals or takes != "value" else _next(rest, f"--{name}")
        elif word.startswith("-") and len(word) > 1:
            yield from _short_options(word[1:], rest)
        else:
            two = "; submit two jobs" if word in ("hetjob", "packjob", ":") else ""
            raise ValueError(f"{shown(word)} is no option of sbatch{two}")


def _short_options(letters: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    """`-N2`, `-N 2`, and flags without a value in one word."""
    while letters:
        letter, letters = letters[0], letters[1:]
        name = LONG_OF.get(letter)
        if name is None:
            raise ValueError(f"-{letter} is no option of sbatch")
        if OPTIONS[name].takes != "value":
            yield name, ""
            continue
        yield name, letters or _next(rest, f"-{letter}")
        return


def _next(rest: Iterator[str], flag: str) -> str:
    value = next(rest, None)
    if value is None:
        raise ValueError(f"{flag} requires a value")
    return value


def _long_name(given: str) -> str:
    """The option of that name, or the only one that begins with it. Raises ValueError."""
    if given in OPTIONS:
        return given
    longer = [name for name in OPTIONS if name.startswith(given)] if given else []
    if len(longer) == 1:
        return longer[0]
    near = nearest(given, [*OPTIONS])
    hint = f"; the nearest is --{near}" if near else ""
    raise ValueError(f"--{given} is no option of sbatch{hint}")
