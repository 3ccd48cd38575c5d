"""The fetch process of a node: one cache, one UNIX socket, on which the agent sends its list.

It is started by the keeper, in its account, with the lowest priority for processor and disk. It may
be killed at any time: the next one finds a whole cache.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path

import psutil

from wattline_runtime.data.fetch.serve import serve
from wattline_runtime.data.fetch.strays import CHILDREN

NICE = 19


def main(argv: list[str]) -> int:
    """Run until killed, or until no agent has been connected for long."""
    parser = argparse.ArgumentParser(prog="wattline_runtime.data.fetch", allow_abbrev=False)
    parser.add_argument("--socket", type=Path, required=True, help="where the agent connects")
    parser.add_argument("--cache-dir", type=Path, required=True)
    parser.add_argument("--cache-size", type=int, required=True, help="bytes")
    parser.add_argument("--rate", type=int, default=0, help="bytes per second; 0 = no limit")
    options = parser.parse_args(argv)
    os.nice(NICE)
    CHILDREN.adopt()
    with contextlib.suppress(OSError):  # the kernel, or a container, may not allow it
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    return serve(options.socket, options.cache_dir, options.cache_size, options.rate)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
