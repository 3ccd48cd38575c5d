"""Options that every worker has: its service, gateways and keys, from arguments or environment."""

import argparse
import os
from typing import NoReturn

from wattline_protocol.text.endpoints import reachable_endpoint
from wattline_protocol.trust.keys import check_key
from wattline_runtime.serve.worker import WorkerConfig


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Add them; inside a service's task their defaults are right."""
    env, add = os.environ.get, parser.add_argument
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


def worker_config(options: argparse.Namespace) -> WorkerConfig:
    """Raises ValueError."""
    gateways = _gateways(_parts(options.gateway), _parts(options.gateway_key))
    if not options.service:
        raise ValueError("no service name: set WATTLINE_SERVICE or --service NAME")
    return WorkerConfig(
        service=options.service,
        gateways=gateways,
        drain_grace_s=options.drain_grace_s,
        stop_file=options.stop_file,
    )


def refuse(parser: argparse.ArgumentParser, reason: str) -> NoReturn:
    """Exit with 2 and the reason alone: argparse's usage before it would fill the page of a job."""
    parser.exit(2, f"{parser.prog}: error: {reason}\n")


def _gateways(endpoints: list[str], keys: list[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of endpoint and key. Raises ValueError."""
    if not endpoints:
        raise ValueError(
            "no gateway of the site file was enrolled when this task started: "
            "wattline enroll NAME --role gateway; outside of a task give --gateway tcp://HOST:PORT"
        )
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


def positive(text: str) -> int:
    """A number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value
