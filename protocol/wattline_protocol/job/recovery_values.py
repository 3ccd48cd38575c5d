"""Readers for values of `[recovery]`, and what contradicts them in a job."""

from pathlib import PurePosixPath

from wattline_protocol.job.spec import STOP_SIGNALS, JobSpec
from wattline_protocol.text.toml_fields import choice, text

MAX_PATTERN_CHARS = 512
_NAMES_EXPECTED = 'expected a pattern of paths, as in "out/checkpoint-*"'
_UNSAFE_WITH_TORCHRUN = ("HUP", "INT", "QUIT")
"""torchrun ends its ranks by itself at these: they get no time to save."""


def stop_signal(value: object) -> str:
    """Name of a signal, without SIG."""
    name = text(value)
    return choice(*STOP_SIGNALS)(name.removeprefix("SIG"))


def checkpoints(value: object) -> str:
    """A pattern of paths, relative to the working directory or absolute."""
    pattern = text(value)
    path = PurePosixPath(pattern)
    if not path.name or "\n" in pattern or len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"{_NAMES_EXPECTED}, of at most {MAX_PATTERN_CHARS} characters")
    if ".." in path.parts or "**" in path.parts or pattern.endswith("/"):
        raise ValueError(f'{_NAMES_EXPECTED}, without "..", "**" and a slash at its end')
    return str(path)


def recovery_problems(job: JobSpec) -> list[tuple[str, bool, str]]:
    """Keys that are valid alone and invalid together."""
    recovery, is_torchrun = job.recovery, job.launch.how == "torchrun"
    is_single = job.array is None and job.kind != "service"
    return [
        (
            "recovery.checkpoints",
            bool(recovery.checkpoints) and not is_single,
            "a pattern is for a job of one gang: each index or replica would take the others'",
        ),
        (
            "recovery.stop_signal",
            is_torchrun and recovery.stop_signal in _UNSAFE_WITH_TORCHRUN,
            f"torchrun ends its ranks at SIG{recovery.stop_signal} by itself; use USR1 or TERM",
        ),
    ]
