"""`python -m wattline_runtime.serve --model module:Class`: run an inference worker.

Inside a service's task everything else comes from the environment that the agent sets:
WATTLINE_SERVICE, WATTLINE_GATEWAY, WATTLINE_GATEWAY_KEY, WATTLINE_WORKER_SECRET_FILE and
WATTLINE_STOP_FILE. Exit status: 0 stopped in order, 2 wrong arguments, 3 the model failed,
4 it hung.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path

import structlog

from wattline_protocol.text.endpoints import reachable_endpoint
from wattline_protocol.trust.keys import check_key
from wattline_runtime.logs import log_to_stderr
from wattline_runtime.serve.key_file import read_secret
from wattline_runtime.serve.model import find_model
from wattline_runtime.serve.model_backend import ModelBackend
from wattline_runtime.serve.worker import Worker, WorkerConfig

MODEL_END_S = 0.5
"""After the last answer: time for the model thread to end by itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse arguments, load keys and model class, serve. Returns the exit status."""
    log_to_stderr()
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        args = dict(_pair(text) for text in options.arg)
        keys = read_secret(options.secret_file)
        config = _config(options)
        sys.path.insert(0, str(Path.cwd()))
        model = find_model(options.model)()
    except (ValueError, OSError) as error:
        parser.error(str(error))
    backend = ModelBackend(
        model,
        args,
        max_batch_cost=options.max_batch_cost,
        capacity=options.capacity,
        queue_limit=options.capacity * (len(config.gateways) + 1),
        batch_timeout_s=options.batch_timeout,
        torch_threads=options.torch_threads,
    )
    code = Worker(config, keys, backend).run()
    if not backend.join(MODEL_END_S):
        # The model hangs in user code; a normal exit would wait for its threads and locks.
        structlog.get_logger().warning("model_left_hanging", service=config.service)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _parser() -> argparse.ArgumentParser:
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m wattline_runtime.serve", description=__doc__)
    add = parser.add_argument
    add("--model", required=True, help="package.module:Class or path/to/file.py:Class")
    add("--arg", action="append", default=[], metavar="K=V", help="given to the model's load()")
    add("--max-batch-cost", type=_positive, default=32, help="maximum cost of one batch")
    add("--capacity", type=_positive, default=64, help="requests queued per gateway, at most")
    text = "maximum seconds of one batch (default: 8 x the p99 of newest batches, at least 10)"
    add("--batch-timeout", type=_seconds, default=0.0, metavar="S", help=text)
    add("--torch-threads", type=_positive, default=1)
    add("--drain-grace-s", type=float, default=3.5, help="time to finish after a stop notice")
    add("--service", default=env("WATTLINE_SERVICE", ""))
    add("--gateway", default=env("WATTLINE_GATEWAY", ""), help="tcp endpoints, comma-separated")
    add(
        "--gateway-key",
        default=env("WATTLINE_GATEWAY_KEY", ""),
        help="public keys, one for each or all",
    )
    add("--secret-file", default=env("WATTLINE_WORKER_SECRET_FILE", ""))
    add("--stop-file", default=env("WATTLINE_STOP_FILE", ""))
    return parser


def _config(options: argparse.Namespace) -> WorkerConfig:
    gateways = _gateways(_parts(options.gateway), _parts(options.gateway_key))
    if not options.service:
        raise ValueError("no service name: set WATTLINE_SERVICE or --service NAME")
    return WorkerConfig(
        service=options.service,
        gateways=gateways,
        drain_grace_s=options.drain_grace_s,
        stop_file=options.stop_file,
    )


def _gateways(endpoints: list[str], keys: list[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of endpoint and key. Raises ValueError."""
    if not endpoints:
        raise ValueError("no gateway: set WATTLINE_GATEWAY or --gateway tcp://HOST:PORT")
    try:
        if len(keys) not in (1, len(endpoints)):
            raise ValueError(f"{len(keys)} keys for {len(endpoints)} gateways")
        checked = [check_key(key) for key in keys]
    except ValueError as error:
        raise ValueError(f"WATTLINE_GATEWAY_KEY or --gateway-key: {error}") from error
    checked *= len(endpoints) if len(keys) == 1 else 1
    return tuple(zip(map(reachable_endpoint, endpoints), checked, strict=True))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"--arg {text!r} is not of the form name=value")
    return name, value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"{value} is no number of seconds above 0")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
