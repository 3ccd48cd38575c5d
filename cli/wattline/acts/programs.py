"""Runs the programs of a site in the foreground."""

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wattline import exits
from wattline.acts.site import read_site
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_protocol.site.model import Gateway, Site
from wattline_protocol.text.endpoints import split_endpoint
from wattline_protocol.trust.keys import JoinBundle, load_bundle
from wattline_protocol.wire.transport import TransportError

if TYPE_CHECKING:
    from wattline_agent.config import AgentConfig
    from wattline_runtime.gateway.config import GatewayConfig

T = TypeVar("T")


def scheduler(
    *,
    site: str,
    state: str | None,
    recover: bool,
    backup: str | None,
    check: bool,
    json_logs: bool,
) -> Outcome:
    """Run until SIGTERM or SIGINT, unless only a backup or a check is requested; the exit code."""
    from wattline_scheduler.shell.config import SchedulerConfig
    from wattline_scheduler.shell.run import run_scheduler

    config = SchedulerConfig(
        site_dir=Path(site),
        state_dir=Path(state) if state is not None else Path(site) / "state",
        recover=recover,
        log_json=json_logs,
    )
    if backup is not None:
        return Outcome(None, _back_up(config.state_dir, Path(backup)))
    if check:
        from wattline_scheduler.shell.self_check import print_check

        return Outcome(None, print_check(config))
    return Outcome(None, run_scheduler(config))


def _back_up(state: Path, target: Path) -> int:
    from wattline_scheduler.store.errors import StoreError
    from wattline_scheduler.store.file import copy_database
    from wattline_scheduler.store.verify import DB_NAME

    try:
        copy_database(state / DB_NAME, target)
    except (StoreError, OSError) as error:
        raise ActFailed(f"no backup was made: {error}") from error
    return exits.OK


def _option(flag: str, given: str | None, parse: Callable[[str], T], default: T) -> T:
    """The value of a flag of the agent, by its own parser."""
    try:
        return default if given is None else parse(given)
    except ValueError as error:
        raise ActFailed(f"{flag}: {error}", exits.USAGE) from error


def agent(
    *,
    bundle: str | None,
    state: str | None,
    sysfs_root: str | None,
    secrets_dir: str | None,
    nvml_lib: str | None,
    gpus: str | None,
    observe: bool,
    keeper_service: bool,
    cache_dir: str | None,
    cache_size: str | None,
    fetch_rate: str | None,
    check: bool,
    floors: bool,
    json_logs: bool,
) -> Outcome:
    """Run until SIGTERM or SIGINT, unless it only checks or sets floors; returns the exit code."""
    from wattline_agent import config as agent_config

    managed = _option("--gpus", gpus, agent_config.parse_gpus, None)
    cache_bytes = _option(
        "--cache-size", cache_size, agent_config.parse_cache_size, agent_config.DEFAULT_CACHE_BYTES
    )
    fetch_bytes_s = _option("--fetch-rate", fetch_rate, agent_config.parse_size, 0)
    if nvml_lib is not None and not Path(nvml_lib).is_file():
        raise ActFailed(f"--nvml-lib {nvml_lib} is not a file", exits.USAGE)
    config = agent_config.AgentConfig(
        bundle=None if bundle is None else Path(bundle),
        state_dir=agent_config.DEFAULT_STATE_DIR if state is None else Path(state),
        sysfs_root=agent_config.DEFAULT_SYSFS_ROOT if sysfs_root is None else Path(sysfs_root),
        secrets_dir=None if secrets_dir is None else Path(secrets_dir),
        nvml_lib=None if nvml_lib is None else Path(nvml_lib),
        observe=observe,
        gpus=managed,
        has_keeper_service=keeper_service,
        cache_dir=None if cache_dir is None else Path(cache_dir),
        cache_bytes=cache_bytes,
        fetch_bytes_s=fetch_bytes_s,
        is_json_log=True if json_logs else None,
    )
    if check:
        from wattline_agent.check import print_check

        return Outcome(None, print_check(config, is_json=json_logs))
    if floors:
        if observe:
            raise ActFailed("--observe and --floors exclude each other", exits.USAGE)
        from wattline_agent.floors import run_floors

        return Outcome(None, run_floors(config))
    return Outcome(None, _run_agent(config))


def _run_agent(config: "AgentConfig") -> int:
    if config.bundle is None:
        raise ActFailed(
            "--bundle FILE is needed: make one with `wattline enroll NAME --role agent`",
            exits.USAGE,
        )
    from wattline_agent.daemon import run_agent

    return run_agent(config)


def gateway(
    *,
    bundle: str,
    site: str,
    takeover: bool,
    processes: int,
    access_log: str | None,
    body_log: str | None,
    otlp: str | None,
    retention: float | None,
    batch_dir: str | None,
    batch_retention: float | None,
    json_logs: bool,
) -> Outcome:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    from wattline_runtime.gateway.config import BATCH_RETENTION_S, RETENTION_S, GatewayConfig
    from wattline_runtime.logs import log_to_stderr

    log_to_stderr(as_json=json_logs)
    made = "`wattline enroll NAME --role gateway`"
    if not Path(bundle).exists():
        raise ActFailed(f"no join bundle {bundle}; {made} makes one", exits.NOT_FOUND)
    member = load_bundle(Path(bundle))
    if member.role != "gateway":
        text = f"{bundle} has role {member.role}; a gateway needs one of role gateway ({made})"
        raise ActFailed(text, exits.USAGE)
    layout = read_site(Path(site))
    own = _gateway_named(member.name, layout)
    http_host, http_port = split_endpoint(f"tcp://{own.http_address}")
    worker_host, worker_port = split_endpoint(own.worker_endpoint)
    try:
        config = GatewayConfig(
            secret_key=member.secret_key,
            http_host=http_host,
            http_port=int(http_port),
            worker_host=socket.gethostbyname(worker_host),
            worker_port=int(worker_port),
            trusted_proxies=own.trusted_proxies,
            connections_per_address=own.connections_per_address,
            hold_s=own.hold_s,
            takeover=takeover,
            tls_cert=own.tls_cert,
            tls_key=own.tls_key,
            insecure=own.insecure,
            processes=processes,
            access_log=access_log or "",
            body_log=body_log or "",
            otlp=otlp or "",
            log_retention_s=retention or RETENTION_S,
            batch_dir=batch_dir or "",
            batch_retention_s=batch_retention or BATCH_RETENTION_S,
            json_logs=json_logs,
            open=own.open,
            keys_valid_s=own.keys_valid_s,
            abuse=layout.abuse if layout.abuse.enabled else None,
        )
    except socket.gaierror as error:
        text = f"worker_endpoint {own.worker_endpoint}: {error.strerror}"
        raise ActFailed(text, exits.USAGE) from error
    except ValueError as error:
        raise ActFailed(f"the gateway cannot start: {error}", exits.USAGE) from error
    return Outcome(None, _serve(member, config))


def _serve(member: JoinBundle, config: "GatewayConfig") -> int:
    from wattline.client import Client
    from wattline.client.log_queries import answer_log_queries
    from wattline.client.routes import ClientRoutes
    from wattline_runtime.gateway.connections.takeover import TakeoverFailed
    from wattline_runtime.gateway.processes.parent import ProcessFailed
    from wattline_runtime.gateway.run import run_gateway
    from wattline_runtime.log_reading.log_reader import LogFiles, ask_reader

    try:
        with Client(member) as client:
            files = LogFiles(config.access_log, config.body_log)
            answer_log_queries(client, partial(ask_reader, files=files))
            return run_gateway(config, ClientRoutes(client))
    except (OSError, TransportError, TakeoverFailed, ProcessFailed) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise ActFailed(str(why)) from error


def _gateway_named(name: str, site: Site) -> Gateway:
    gateways = {gateway.name: gateway for gateway in site.gateways}
    if name not in gateways:
        known = ", ".join(gateways) or "none"
        raise ActFailed(f"the site file has no gateway {name!r}; it has {known}", exits.USAGE)
    return gateways[name]
