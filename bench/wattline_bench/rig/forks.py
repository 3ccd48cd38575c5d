"""The machine's own speed: bare fork and exec of a program that does nothing."""

import subprocess
import sys

RUNS = 500

_FORKS = """
import os, sys, time
began = time.perf_counter()
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)
print(int(sys.argv[1]) / (time.perf_counter() - began))
"""


def fork_exec_per_s() -> float:
    """One after the other, from a process as small as Python is."""
    command = [sys.executable, "-S", "-c", _FORKS, str(RUNS)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
