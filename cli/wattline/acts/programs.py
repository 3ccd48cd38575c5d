"""Runs the programs of a site in the foreground."""

import socket
from pathlib import Path

from wattline import exits
from wattline.acts.site import read_site
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_protocol.endpoints import split_endpoint
from wattline_protocol.keys import load_bundle
from wattline_protocol.site import Gateway


def scheduler(*, site: str, state: str | None, recover: bool, json_logs: bool) -> Outcome:
    """Until SIGTERM or SIGINT; its exit code."""
    from wattline_scheduler.shell.config import SchedulerConfig
    from wattline_scheduler.shell.run import run_scheduler

    config = SchedulerConfig(
        site_dir=Path(site),
        state_dir=Path(state) if state is not None else Path(site) / "state",
        recover=recover,
        log_json=json_logs,
    )
    return Outcome(None, run_scheduler(config))


def gateway(*, bundle: str, site: str, json_logs: bool) -> Outcome:
    """Until SIGTERM or SIGINT; its exit code."""
    from wattline.client import Client
    from wattline.client.routes import ClientRoutes
    from wattline_runtime.gateway.config import GatewayConfig
    from wattline_runtime.gateway.run import run_gateway
    from wattline_runtime.logs import log_to_stderr

    log_to_stderr(as_json=json_logs)
    member = load_bundle(Path(bundle))
    own = _gateway_named(member.name, Path(site))
    http_host, http_port = split_endpoint(f"tcp://{own.http_address}")
    worker_host, worker_port = split_endpoint(own.worker_endpoint)
    config = GatewayConfig(
        secret_key=member.secret_key,
        http_host=http_host,
        http_port=int(http_port),
        worker_host=socket.gethostbyname(worker_host),
        worker_port=int(worker_port),
    )
    with Client(member) as client:
        return Outcome(None, run_gateway(config, ClientRoutes(client)))


def _gateway_named(name: str, site: Path) -> Gateway:
    gateways = {gateway.name: gateway for gateway in read_site(site).gateways}
    if name not in gateways:
        known = ", ".join(gateways) or "none"
        raise ActFailed(f"the site file names no gateway {name!r}; it names {known}", exits.USAGE)
    return gateways[name]
