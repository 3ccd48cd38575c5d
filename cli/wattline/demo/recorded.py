"""Runs a module as a task's program and records when this process began and ended.

    python recorded.py FILE MODULE [ARGUMENTS …]

One line of JSON for the start and one for the end, appended to FILE. The demo reads them to prove
that no attempt of a task was started twice and that no two attempts of it ran at the same time. Run
by path and standard library only, as a user's own program is.
"""

import atexit
import json
import os
import runpy
import sys
import time


def note(path: str, what: str) -> None:
    """Append one line; a line is one write, so that processes may share the file."""
    entry = {
        "what": what,
        "job": int(os.environ["WATTLINE_JOB"]),
        "task": int(os.environ["WATTLINE_TASK"]),
        "attempt": int(os.environ["WATTLINE_ATTEMPT"]),
        "rank": int(os.environ.get("LOCAL_RANK", "0")),
        "pid": os.getpid(),
        "mono_s": time.monotonic(),
    }
    line = json.dumps(entry).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def main() -> None:
    """Record the start, then run the module as the main program."""
    path, module = sys.argv[1], sys.argv[2]
    note(path, "start")
    atexit.register(note, path, "end")
    sys.argv = sys.argv[2:]
    # The module must not find this file's folder before the task's own path.
    sys.path.pop(0)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
