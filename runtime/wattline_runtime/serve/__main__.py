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

from wattline_runtime.logs import log_to_stderr
from wattline_runtime.serve.energy.gpu_counters import GpuCounters, gpus_of
from wattline_runtime.serve.energy.worker_energy import WorkerEnergy
from wattline_runtime.serve.key_file import read_secret
from wattline_runtime.serve.model import find_model
from wattline_runtime.serve.model_backend import ModelBackend
from wattline_runtime.serve.options import add_worker_options, positive, refuse, worker_config
from wattline_runtime.serve.worker import Worker

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
        config = worker_config(options)
        sys.path.insert(0, str(Path.cwd()))
        model = find_model(options.model)()
    except (ValueError, OSError) as error:
        refuse(parser, str(error))
    backend = ModelBackend(
        model,
        args,
        max_batch_cost=options.max_batch_cost,
        capacity=options.capacity,
        queue_limit=options.capacity * (len(config.gateways) + 1),
        batch_timeout_s=options.batch_timeout,
        torch_threads=options.torch_threads,
    )
    energy = WorkerEnergy(GpuCounters(gpus_of(os.environ)))
    code = Worker(config, keys, backend, energy).run()
    if not backend.join(MODEL_END_S):
        # The model hangs in user code; a normal exit would wait for its threads and locks.
        structlog.get_logger().warning("model_left_hanging", service=config.service)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wattline_runtime.serve", description=__doc__)
    add = parser.add_argument
    add("--model", required=True, help="package.module:Class, file.py:Class or file.pt2")
    add("--arg", action="append", default=[], metavar="K=V", help="given to the model's load()")
    add("--max-batch-cost", type=positive, default=32, help="maximum cost of one batch")
    add("--capacity", type=positive, default=64, help="requests queued per gateway, at most")
    text = "maximum seconds of one batch (default: 8 x the p99 of newest batches, at least 10)"
    add("--batch-timeout", type=_seconds, default=0.0, metavar="S", help=text)
    add("--torch-threads", type=positive, default=1)
    add_worker_options(parser)
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"--arg {text!r} is not of the form name=value")
    return name, value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"{value}: expected a number of seconds above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
