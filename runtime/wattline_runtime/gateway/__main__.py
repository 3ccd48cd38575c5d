"""`python -m wattline_runtime.gateway`: a gateway on its own, with routes from a file.

Prints one line of JSON with its endpoints once it serves. Within a site, `wattline gateway` runs
the same gateway with routes from the scheduler. This one is open to all unless --closed is given.
"""

import argparse
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path

import msgspec

from wattline_protocol.site.model import Abuse
from wattline_protocol.trust.keys import load_keys
from wattline_protocol.wire.transport import TransportError
from wattline_runtime.gateway.config import Endpoints, GatewayConfig
from wattline_runtime.gateway.routes import FileRoutes
from wattline_runtime.gateway.run import run_gateway
from wattline_runtime.logs import log_to_stderr


def main(argv: Sequence[str] | None = None) -> int:
    """Parse arguments and serve until SIGTERM. Returns the exit status."""
    log_to_stderr()
    defaults = GatewayConfig()
    parser = argparse.ArgumentParser(prog="python -m wattline_runtime.gateway", description=__doc__)
    parser.add_argument("--routes", required=True, type=Path, help="JSON file, re-read on change")
    parser.add_argument("--key-file", required=True, type=Path, help="key pair, TOML, mode 0600")
    for name in ("http_host", "worker_host"):
        parser.add_argument(f"--{name.replace('_', '-')}", default=getattr(defaults, name))
    numbers = "http_port", "worker_port", "queue_limit", "default_timeout_ms", "processes"
    sizes = "connections_per_address", "max_header_bytes", "batch_reserve_bytes"
    for name in (*numbers, *sizes):
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name)
        )
    for name in ("client_timeout_s", "hold_s", "batch_retention_s"):
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=getattr(defaults, name)
        )
    parser.add_argument("--access-log", default="", help="append a line for each request")
    parser.add_argument("--batch-dir", default="", help="keep and run batches there")
    parser.add_argument("--body-log", default="", help="folder for logged bodies")
    parser.add_argument("--otlp", default="", help="URL of a collector of spans")
    parser.add_argument("--closed", action="store_true", help="require the API keys of the file")
    parser.add_argument("--trusted-proxies", nargs="*", default=defaults.trusted_proxies)
    for name in ("tls_cert", "tls_key"):
        parser.add_argument(f"--{name.replace('_', '-')}", default="", help="PEM file")
    parser.add_argument("--abuse", action="store_true", help="slow and block clients that abuse it")
    parser.add_argument("--insecure", action="store_true", help="keys over plain HTTP")
    parser.add_argument("--takeover", action="store_true", help="replace one that runs")
    options = vars(parser.parse_args(argv))
    options["trusted_proxies"] = tuple(options["trusted_proxies"])
    options["abuse"] = Abuse() if options["abuse"] else None
    options["open"] = not options.pop("closed")
    options["keys_valid_s"] = inf  # the file is there, whatever happens
    routes = FileRoutes(options.pop("routes"))
    try:
        secret = load_keys(options.pop("key_file")).secret
        return run_gateway(GatewayConfig(secret_key=secret, **options), routes, _announce)
    except (ValueError, OSError, TransportError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2


def _announce(endpoints: Endpoints) -> None:
    print(msgspec.json.encode(endpoints).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
