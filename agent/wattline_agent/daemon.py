"""The agent's main program: assembles the parts, runs the shell, returns an exit code."""

import contextlib
import functools
import os
import secrets
import signal
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

import psutil

from wattline_agent.config import AgentConfig, BadConfig
from wattline_agent.core.durable import AgentState
from wattline_agent.core.events import Started
from wattline_agent.core.model import Facts
from wattline_agent.core.node import Node
from wattline_agent.core.ports import Collector, DriverAbsent
from wattline_agent.device import open_collector
from wattline_agent.executor import open_runner
from wattline_agent.executor.launchers.container import find_podman
from wattline_agent.fetch_link import CacheConfig, FetchLink
from wattline_agent.host import open_sensors
from wattline_agent.host.address import address_towards, interface_towards
from wattline_agent.keeper_link import KeeperLink, NoKeeper
from wattline_agent.link import SchedulerLink
from wattline_agent.logs import Log, make_log
from wattline_agent.secrets.intake import Intake
from wattline_agent.secrets.secret_store import SecretStore
from wattline_agent.shell import CAPS_TIMEOUT_S, Shell
from wattline_agent.spool import RollupSpool
from wattline_agent.statefile import StateDir, StateInUse, StateUnusable
from wattline_agent.terminals.terminals import Terminals
from wattline_protocol.ids import NodeId
from wattline_protocol.job.spec import TERMINAL
from wattline_protocol.trust.keys import JoinBundle, KeyFileError, load_bundle
from wattline_protocol.wire.transport import TransportError

EXIT_OK = 0
EXIT_CONFIG = 78
"""The bundle, an option or an endpoint is wrong (EX_CONFIG)."""
EXIT_NO_DRIVER = 69
"""No usable GPU driver, or no keeper (EX_UNAVAILABLE)."""
EXIT_STATE = 74
"""The state directory cannot be read or written (EX_IOERR); GPUs were put at their floors."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def run_agent(config: AgentConfig) -> int:
    """Run the agent of this host until SIGTERM or SIGINT. Returns the exit code."""
    log = make_log(is_json=config.is_json_log)
    try:
        bundle = _bundle(config)
    except (BadConfig, KeyFileError) as error:
        log.error("bad_config", error=str(error))
        return EXIT_CONFIG
    try:
        collector = open_collector(config.nvml_lib, config.sysfs_root, may_set=not config.observe)
    except DriverAbsent as error:
        log.error("no_driver", error=str(error))
        return EXIT_NO_DRIVER
    with contextlib.closing(collector):
        return _run(config, bundle, collector, log.bind(node=bundle.name))


def _run(config: AgentConfig, bundle: JoinBundle, collector: Collector, log: Log) -> int:
    try:
        with contextlib.ExitStack() as stack:
            _serve(config, bundle, collector, stack, log)
    except StateInUse as error:
        log.error("state_in_use", error=str(error))
        return EXIT_STATE
    except StateUnusable as error:
        log.error("state_unusable", error=str(error))
        apply_floors(config, collector, log)
        return EXIT_STATE
    except NoKeeper as error:
        log.error("no_keeper", error=str(error))
        return EXIT_NO_DRIVER
    except TransportError as error:
        log.error("bad_config", error=str(error))
        return EXIT_CONFIG
    log.info("stopped")
    return EXIT_OK


def _bundle(config: AgentConfig) -> JoinBundle:
    if config.bundle is None:
        raise BadConfig("a join bundle is needed: `wattline enroll NAME --role agent` makes one")
    bundle = load_bundle(config.bundle)
    if bundle.role != "agent":
        raise BadConfig(f"{config.bundle} has role {bundle.role}; an agent needs one of role agent")
    return bundle


def _serve(
    config: AgentConfig,
    bundle: JoinBundle,
    collector: Collector,
    stack: contextlib.ExitStack,
    log: Log,
) -> None:
    limits = collector.read_caps(CAPS_TIMEOUT_S)
    files = stack.enter_context(contextlib.closing(StateDir(config.state_dir)))
    saved, usage = files.load_state(), files.load_usage()
    boot, instance = boot_id(), collector.driver_instance()
    if not _is_same_driver(saved, boot, instance):
        apply_floors(config, collector, log)
    files.probe()
    spool = RollupSpool(files.path / "spool")
    if spool.torn_bytes:
        log.warning("spool_torn", cut_bytes=spool.torn_bytes)
    interface = functools.partial(interface_towards, bundle.agent_endpoint)
    store = secret_store(config)
    opened = functools.partial(
        open_runner,
        interface=interface,
        site_id=bundle.site_id,
        secrets=store,
        on_unreadable=lambda key: log.error("order_unreadable", attempt=key, text="it is ended"),
    )
    keeper_link = KeeperLink(files.path, opened, log, may_start=not config.has_keeper_service)
    stack.enter_context(contextlib.closing(keeper_link))
    keeper_link.open()
    sensors = stack.enter_context(contextlib.closing(open_sensors(config.sysfs_root, files.path)))
    link = stack.enter_context(contextlib.closing(SchedulerLink(bundle, log)))
    cache = cache_config(config)
    fetch_link = FetchLink(files.path, cache, keeper_link, store, log)
    stack.enter_context(contextlib.closing(fetch_link))
    shell = Shell(
        Node(_facts(config, bundle, collector, keeper_link, cache), saved, usage),
        collector=collector,
        sensors=sensors,
        keeper_link=keeper_link,
        fetch_link=fetch_link,
        files=files,
        spool=spool,
        link=link,
        secrets=Intake(bundle.name, bundle.secret_key, store, files.path),
        terminals=stack.enter_context(contextlib.closing(Terminals(files.path, log))),
        log=log,
    )
    with StopRequest() as request:
        tasks = keeper_link.observe() or ()
        shell.start(Started(boot, instance, collector.gpus(), limits, tasks))
        log.info(
            "started",
            gpus=len(collector.gpus()),
            tasks=len(tasks),
            simulated=collector.is_simulated,
            observe=config.observe,
        )
        shell.run(request.wake_fd, request.is_asked)
        shell.stop()


def _facts(
    config: AgentConfig,
    bundle: JoinBundle,
    collector: Collector,
    keeper_link: KeeperLink,
    cache: CacheConfig,
) -> Facts:
    return Facts(
        node=NodeId(bundle.name),
        nonce_seed=secrets.token_bytes(32),
        hostname=socket.gethostname(),
        cpus=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        agent_version=agent_version(),
        is_simulated=collector.is_simulated,
        is_observe=config.observe,
        can_run_as=keeper_link.can_run_as(),
        keeper_account=keeper_link.keeper_account(),
        takes_recovery=keeper_link.takes_recovery(),
        address=address_towards(bundle.agent_endpoint),
        takes_secrets=keeper_link.takes_secrets(),
        launchers=(TERMINAL, "ray", "container") if find_podman() else (TERMINAL, "ray"),
        managed=config.gpus,
        data_root=str(cache.versions),
        cache_bytes=cache.size_bytes,
    )


def cache_config(config: AgentConfig) -> CacheConfig:
    """The cache of this node."""
    return CacheConfig(config.cache_path, config.cache_bytes, config.fetch_bytes_s)


def secret_store(config: AgentConfig) -> SecretStore:
    """The secrets of this node: its directory, and those that systemd passes to the agent."""
    return SecretStore(config.secrets_path, os.environ.get("CREDENTIALS_DIRECTORY", ""))


def agent_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("wattline")
    except PackageNotFoundError:
        return "unpackaged"


def boot_id() -> str:
    """Boot ID of the running kernel: changes with every boot."""
    return BOOT_ID.read_text(encoding="ascii").strip()


def _is_same_driver(saved: AgentState | None, boot: str, instance: str) -> bool:
    """Caps of an earlier agent may still be in force; only then may they be left unchanged (I6)."""
    return saved is not None and (saved.boot_id, saved.driver_instance) == (boot, instance)


def apply_floors(config: AgentConfig, collector: Collector, log: Log) -> None:
    """Lowest power on every managed GPU: always safe, whatever is on file."""
    if config.observe:
        return
    floors = {
        gpu.index: gpu.cap_min_mw
        for gpu in collector.gpus()
        if gpu.can_cap and (config.gpus is None or gpu.index in config.gpus)
    }
    for result in collector.apply_caps(floors, CAPS_TIMEOUT_S):
        if result.error:
            log.warning("gpu_not_capped", gpu=result.index, error=result.error)


class StopRequest:
    """SIGTERM or SIGINT: recorded, and the loop woken."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal() gave it
        os.close(self._reader)
        os.close(self._writer)

    @property
    def wake_fd(self) -> int:
        """Readable once a signal has arrived."""
        return self._reader

    def is_asked(self) -> bool:
        """A signal has arrived."""
        return self._is_asked

    def _ask(self, *_: object) -> None:
        self._is_asked = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"!")
