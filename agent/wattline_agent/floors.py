"""`wattline agent --floors`: set every managed GPU to its lowest cap, read it back, and exit.

Meant for boot, before anything can use a GPU: caps do not survive a reboot, and an agent may take a
while to start. Needs no network, bundle or keeper. On a live host it must not slow running work:
where an agent runs, or the limits in force fit the lease on file (the agent's own rule at a
restart, I6), nothing is changed.
"""

import contextlib

from wattline_agent.config import AgentConfig
from wattline_agent.core.durable import AgentState
from wattline_agent.core.events import Started
from wattline_agent.core.model import Facts
from wattline_agent.core.node import Node
from wattline_agent.core.ports import CapResult, Collector, DeviceInfo, DriverAbsent
from wattline_agent.daemon import EXIT_NO_DRIVER, EXIT_OK, EXIT_STATE, boot_id
from wattline_agent.device import open_collector
from wattline_agent.logs import Log, make_log
from wattline_agent.shell import now
from wattline_agent.statefile import StateDir, StateInUse, StateUnusable
from wattline_protocol.ids import NodeId
from wattline_protocol.text.wording import power_text

EXIT_UNCAPPED = 71
"""At least one managed GPU is not at its lowest cap (EX_OSERR); each is named."""
FLOORS_TIMEOUT_S = 10.0
"""At boot, drivers are slow and nothing else waits for an answer."""


def run_floors(config: AgentConfig) -> int:
    """Set the floors unless a lease is in force. Returns the exit code; actions are logged."""
    log = make_log(is_json=config.is_json_log)
    try:
        collector = open_collector(config.nvml_lib, config.sysfs_root)
    except DriverAbsent as error:
        log.error("no_driver", error=str(error))
        return EXIT_NO_DRIVER
    with contextlib.closing(collector):
        try:
            with contextlib.closing(StateDir(config.state_dir)) as files:
                return _floors(config, collector, files, log)
        except StateInUse as error:
            log.info("lease_in_force", text=f"nothing done: {error}")
            return EXIT_OK
        except StateUnusable as error:  # floors are safe whatever is on file
            log.error("state_unusable", error=str(error))
            return set_floors(config, collector, log) or EXIT_STATE


def _floors(config: AgentConfig, collector: Collector, files: StateDir, log: Log) -> int:
    saved = files.load_state() or AgentState()
    started = Started(
        boot_id(),
        collector.driver_instance(),
        collector.gpus(),
        collector.read_caps(FLOORS_TIMEOUT_S),
        (),
    )
    decided = _as_an_agent_decides(config, saved, started)
    if decided.lease is not None:
        lease = power_text(decided.lease.lease_mw)
        text = f"nothing done: the limits in force fit the agent's lease of {lease}"
        log.info("lease_in_force", text=text)
        return EXIT_OK
    status = set_floors(config, collector, log)
    # An agent restores the limits found here when it stops; it finds only floors itself.
    files.save_state(decided)
    return status


def _as_an_agent_decides(config: AgentConfig, saved: AgentState, started: Started) -> AgentState:
    """The state that an agent starting now would save: with a lease only where the caps fit it.

    The keeper is not queried: a GPU above its lowest cap counts in full, with or without a task.
    """
    facts = Facts(NodeId("floors"), nonce_seed=bytes(32), managed=config.gpus)
    node = Node(facts, saved)
    node.handle(started, now())
    return node.state.file


def set_floors(config: AgentConfig, collector: Collector, log: Log) -> int:
    """Set every managed GPU to its lowest cap and read it back. Returns the exit code."""
    managed = [g for g in collector.gpus() if config.gpus is None or g.index in config.gpus]
    floors = {gpu.index: gpu.cap_min_mw for gpu in managed if gpu.can_cap}
    results = {r.index: r for r in collector.apply_caps(floors, FLOORS_TIMEOUT_S)}
    open_ = {gpu.index: _why_open(gpu, results.get(gpu.index)) for gpu in managed}
    uncapped = {index: why for index, why in open_.items() if why}
    for index, why in uncapped.items():
        log.error("gpu_not_capped", gpu=index, error=why)
    log.info("floors_set", gpus=len(managed) - len(uncapped), of=len(managed))
    return EXIT_UNCAPPED if uncapped else EXIT_OK


def _why_open(gpu: DeviceInfo, result: CapResult | None) -> str:
    """Why this GPU is not known to be at its lowest cap; empty when it is."""
    if result is None:
        return gpu.why_not or "it cannot be capped"
    if result.error:
        return result.error
    read = [mw for mw in (result.enforced_mw, result.host_limit_mw) if mw is not None]
    return "" if read else "the limit cannot be read back"
