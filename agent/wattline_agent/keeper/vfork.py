"""`launch.c` from Python: where it was built, a task starts without a copy of the keeper."""

import ctypes
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from wattline_native import load

LAYOUT = 1
"""Version of the structures below."""


class _Limit(ctypes.Structure):
    _fields_ = (
        ("resource", ctypes.c_int),
        ("soft", ctypes.c_ulonglong),
        ("hard", ctypes.c_ulonglong),
    )


class _Launch(ctypes.Structure):
    _fields_ = (
        ("path", ctypes.c_char_p),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("envp", ctypes.POINTER(ctypes.c_char_p)),
        ("cwd", ctypes.c_char_p),
        ("cgroup", ctypes.c_char_p),
        ("oom_score_adj", ctypes.c_char_p),
        ("output", ctypes.c_int),
        ("niceness", ctypes.c_int),
        ("limits", ctypes.POINTER(_Limit)),
        ("limit_count", ctypes.c_int),
    )


class _Outcome(ctypes.Structure):
    _fields_ = (("step", ctypes.c_char_p), ("code", ctypes.c_int))


class Outcome(NamedTuple):
    """Outcome of an attempt to start a program."""

    pid: int
    """-1 = there is no process."""
    failed_step: str
    """Empty = the program runs; else the process, if there is one, has ended."""
    code: int
    """errno of that step."""


class Launcher:
    """The loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._launch = library.wattline_launch
        self._launch.argtypes = [ctypes.POINTER(_Launch), ctypes.POINTER(_Outcome)]

    def start(
        self,
        path: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        cwd: str,
        cgroup: str,
        oom_score_adj: str,
        output: int,
        niceness: int,
        limits: Iterable[tuple[int, int, int]],
    ) -> Outcome:
        """Implements `spawn.spawn_quick`; returns once the program runs or has failed. `limits`:
        (resource, soft, hard) each."""
        bounds = [_Limit(*limit) for limit in limits]
        task = _Launch(
            os.fsencode(path),
            _strings(argv),
            _strings([f"{name}={value}" for name, value in env.items()]),
            os.fsencode(cwd),
            os.fsencode(cgroup),
            oom_score_adj.encode(),
            output,
            niceness,
            (_Limit * len(bounds))(*bounds),
            len(bounds),
        )
        outcome = _Outcome()
        pid = self._launch(task, outcome)
        return Outcome(pid, (outcome.step or b"").decode(), outcome.code)


def _strings(texts: Sequence[str]) -> "ctypes.Array[ctypes.c_char_p]":
    """An argument array for execve: a null pointer after the last."""
    return (ctypes.c_char_p * (len(texts) + 1))(*map(os.fsencode, texts))


def load_launcher(folder: Path = Path(__file__).parent) -> Launcher | None:
    """None where the library was not built; tasks are then forked."""
    library = load(folder, "launch", LAYOUT, ctypes.CDLL)
    return None if library is None else Launcher(library)
