"""`python -m wattline_runtime.serve.bridge -- COMMAND…`: a worker whose requests an HTTP server
answers.

Starts COMMAND with WATTLINE_HTTP_PORT, a free port of loopback, which also replaces `{port}` in its
arguments, and takes requests once the health check succeeds. Exit status: 0 stopped in order,
2 wrong arguments, 3 the server ended, 4 it hung.
"""

import argparse
import sys
from collections.abc import Sequence

from wattline_runtime.logs import log_to_stderr
from wattline_runtime.serve.bridge.backend import HttpBackend
from wattline_runtime.serve.bridge.server import HttpServer
from wattline_runtime.serve.key_file import read_secret
from wattline_runtime.serve.options import add_worker_options, positive, worker_config
from wattline_runtime.serve.worker import Worker
from wattline_runtime.wire import METHODS

SERVER_END_S = 1.0
"""After the last answer: time for the server to end after SIGTERM."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse arguments, start the server, serve. Returns the exit status."""
    log_to_stderr()
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        methods = _methods(options.methods)
        keys = read_secret(options.secret_file)
        config = worker_config(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    server = HttpServer(options.command, options.health)
    backend = HttpBackend(
        server, methods=methods, capacity=options.capacity, infer_path=options.infer_path
    )
    try:
        return Worker(config, keys, backend).run()
    except OSError as error:
        parser.error(f"{options.command[0]} does not start: {error}")
    finally:
        server.stop(SERVER_END_S)


def _parser() -> argparse.ArgumentParser:
    name = "python -m wattline_runtime.serve.bridge"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    add = parser.add_argument
    add("command", nargs="+", metavar="COMMAND", help="the server and its arguments, after --")
    add("--health", default="/health", metavar="PATH", help="answers 2xx once it is ready")
    add("--methods", default="chat,complete", help=f"what it offers: {','.join(METHODS)}")
    add("--infer-path", default="/infer", metavar="PATH", help="its path for predict")
    add("--capacity", type=positive, default=64, help="requests per gateway at once")
    add_worker_options(parser)
    return parser


def _methods(text: str) -> tuple[str, ...]:
    named = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [method for method in named if method not in METHODS]
    if unknown or not named:
        known = ", ".join(METHODS)
        raise ValueError(f"--methods {text!r}: methods are {known}, separated by commas")
    return named


if __name__ == "__main__":
    sys.exit(main())
