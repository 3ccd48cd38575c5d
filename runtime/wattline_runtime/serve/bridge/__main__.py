"""`python -m wattline_runtime.serve.bridge -- COMMAND…`: a worker whose requests an HTTP server
answers.

Starts COMMAND with WATTLINE_HTTP_PORT, a free port of loopback, which also replaces `{port}` in its
arguments, and takes requests once the health check succeeds. Exit status: 0 stopped in order,
2 wrong arguments, 3 the server ended, 4 it hung.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from wattline_protocol.job.http_server import http_path, methods
from wattline_protocol.job.spec import METHODS
from wattline_protocol.text.toml_fields import Reader
from wattline_runtime.logs import log_to_stderr
from wattline_runtime.serve.bridge.backend import HttpBackend
from wattline_runtime.serve.bridge.server import HttpServer
from wattline_runtime.serve.energy.gpu_counters import GpuCounters, gpus_of
from wattline_runtime.serve.energy.worker_energy import WorkerEnergy
from wattline_runtime.serve.key_file import read_secret
from wattline_runtime.serve.options import add_worker_options, positive, refuse, worker_config
from wattline_runtime.serve.worker import Worker

T = TypeVar("T")

SERVER_END_S = 1.0
"""After the last answer: time for the server to end after SIGTERM."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse arguments, start the server, serve. Returns the exit status."""
    log_to_stderr()
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        keys = read_secret(options.secret_file)
        config = worker_config(options)
    except (ValueError, OSError) as error:
        refuse(parser, str(error))
    server = HttpServer(options.command, options.health)
    backend = HttpBackend(
        server, methods=options.methods, capacity=options.capacity, infer_path=options.infer_path
    )
    try:
        energy = WorkerEnergy(GpuCounters(gpus_of(os.environ)))
        return Worker(config, keys, backend, energy).run()
    except OSError as error:
        refuse(parser, f"{options.command[0]} does not start: {error}")
    finally:
        server.stop(SERVER_END_S)


def _parser() -> argparse.ArgumentParser:
    name = "python -m wattline_runtime.serve.bridge"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    add = parser.add_argument
    add("command", nargs="+", metavar="COMMAND", help="the server and its arguments, after --")
    path = _argument(http_path)
    add("--health", default="/health", type=path, metavar="PATH", help="2xx once it is ready")
    offered = f"what it offers: {','.join(METHODS)}"
    add("--methods", default="chat,complete", type=_argument(methods), help=offered)
    add("--infer-path", default="/infer", type=path, metavar="PATH", help="its path for predict")
    add("--capacity", type=positive, default=64, help="requests per gateway at once")
    add_worker_options(parser)
    return parser


def _argument(reader: Reader[T]) -> Callable[[str], T]:
    """The reader of a job file's value for an argument."""

    def read(text: str) -> T:
        try:
            return reader(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error

    return read


if __name__ == "__main__":
    sys.exit(main())
