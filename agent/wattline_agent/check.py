"""Checks of this host, each with its remedy (`agent --check`).

Read-only: sets no cap, starts no keeper, changes no file but a probe in the state directory.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator

from wattline_agent.config import AgentConfig
from wattline_agent.core.ports import Collector, DriverAbsent, KeeperAbsent
from wattline_agent.device import open_collector
from wattline_agent.executor import living_tasks
from wattline_agent.executor.launchers.container import find_podman
from wattline_agent.executor.launchers.enter_container import PODMAN_PATH
from wattline_agent.executor.mps import serving_pipes
from wattline_agent.executor.state_dir_access import closed_to_others
from wattline_agent.host import open_sensors
from wattline_agent.keeper.mounts import Mounts
from wattline_agent.keeper.processes.cgroup import find_own_group, text_of
from wattline_agent.secrets.secret_store import SecretStore
from wattline_agent.statefile import StateDir, StateInUse, StateUnusable, read_state
from wattline_protocol.site.containers import Containers
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.text.checklist import Check, print_checks
from wattline_protocol.text.wording import counted, power_text
from wattline_protocol.trust.keys import KeyFileError, load_bundle
from wattline_protocol.wire.transport import ClientSocket, TransportError

CONNECT_TIMEOUT_S = 3.0
DRIVER_TIMEOUT_S = 2.0
SLOW_WAIT_S = 0.5
OLDEST_CLOCK_UNIX_S = 1_700_000_000
"""A clock before the date of this release is wrong."""


def run_checks(config: AgentConfig) -> tuple[Check, ...]:
    """All checks, in the order in which an operator would fix failures."""
    return tuple(_all(config))


def print_check(config: AgentConfig, *, is_json: bool) -> int:
    """Print the table. Returns 0 unless a check failed."""
    return print_checks(run_checks(config), is_json=is_json)


def _all(config: AgentConfig) -> Iterator[Check]:
    yield from _gpus(config)
    yield _node_power(config)
    yield _inlet(config)
    yield _cgroups()
    yield from _containers(config)
    yield _state_dir(config)
    yield from _accounts(config)
    yield _secrets(config)
    yield _keeper(config)
    yield _clock()
    yield from _scheduler(config)


def _gpus(config: AgentConfig) -> Iterator[Check]:
    try:
        collector = open_collector(config.nvml_lib, config.sysfs_root)
    except DriverAbsent as error:
        remedy = "install the NVIDIA driver, or name its library with --nvml-lib"
        yield Check("NVML", "failed", str(error), remedy)
        return
    with contextlib.closing(collector):
        yield _driver(collector)
        yield _capping(collector)
        yield _persistence(collector)
        yield _sharing(collector)
        yield from _mig(collector)


def _driver(collector: Collector) -> Check:
    gpus = collector.gpus()
    if not gpus:
        return Check(
            "NVML", "failed", "the driver reports no GPU", "check the kernel log and lspci"
        )
    names = sorted({gpu.name for gpu in gpus})
    kind = " (simulated)" if collector.is_simulated else ""
    return Check("NVML", "ok", f"{counted(len(gpus), 'GPU')}{kind}: {', '.join(names)}")


def _capping(collector: Collector) -> Check:
    gpus = collector.gpus()
    unable = [gpu for gpu in gpus if not gpu.can_cap]
    unread = [r for r in collector.read_caps(DRIVER_TIMEOUT_S) if r.enforced_mw is None]
    if unable:
        found = (
            f"{len(unable)} of {counted(len(gpus), 'GPU')} cannot be capped: {unable[0].why_not}"
        )
        remedy = "run as root (or with CAP_SYS_ADMIN); until then these GPUs count at full power"
        return Check("power caps", "warning", found, remedy)
    if unread:
        found = f"the limit of {counted(len(unread), 'GPU')} cannot be read back: {unread[0].error}"
        return Check("power caps", "warning", found, "these GPUs count at full power")
    low = min((gpu.cap_min_mw for gpu in gpus), default=0) / 1000
    high = max((gpu.cap_max_mw for gpu in gpus), default=0) / 1000
    return Check("power caps", "ok", f"may be set, {low:g} to {high:g} W")


def _persistence(collector: Collector) -> Check:
    until_s = time.monotonic() + SLOW_WAIT_S
    while any(s is None for s in collector.slow()) and time.monotonic() < until_s:
        collector.sample(DRIVER_TIMEOUT_S)
        time.sleep(0.05)
    lasting = [slow.persistence for slow in collector.slow() if slow is not None]
    remedy = (
        "nvidia-smi -pm 1, or run nvidia-persistenced: caps end with the last client without it"
    )
    if False in lasting:
        return Check(
            "persistence", "failed", f"off on {counted(lasting.count(False), 'GPU')}", remedy
        )
    unable = [g for g in collector.gpus() if "persistence" in g.why_not]
    if unable:
        return Check("persistence", "failed", unable[0].why_not, remedy)
    return Check("persistence", "ok", "on: caps outlive the agent while the driver is loaded")


def _sharing(collector: Collector) -> Check:
    gpus = collector.gpus()
    alone = [gpu for gpu in gpus if not gpu.can_share]
    if alone:
        found = f"{len(alone)} of {len(gpus)} GPUs admit one process only (compute mode)"
        remedy = "nvidia-smi -c DEFAULT; until then these GPUs are allocated whole, never in shares"
        return Check("GPU sharing", "warning", found, remedy)
    with contextlib.closing(Mounts(may_touch_root=True)) as mounts:
        pipes = serving_pipes(os.environ, os.getuid(), mounts.touch)
    if pipes:
        return Check("GPU sharing", "ok", f"MPS keeps tasks within their shares ({pipes})")
    return Check("GPU sharing", "ok", "in time slices; no MPS daemon runs for this user")


def _mig(collector: Collector) -> Iterator[Check]:
    """MIG devices found; nothing where no GPU is in MIG mode."""
    divided = [(gpu.index, gpu.mig) for gpu in collector.gpus() if gpu.mig is not None]
    if not divided:
        return
    found = "; ".join(
        f"GPU {index}: {', '.join(one.profile for one in mig) or 'none'}" for index, mig in divided
    )
    if all(mig for _, mig in divided):
        yield Check("MIG", "ok", found)
    else:
        remedy = "create some (nvidia-smi mig -cgi PROFILE -C), or disable MIG: nvidia-smi -mig 0"
        yield Check("MIG", "warning", found, remedy)


def _node_power(config: AgentConfig) -> Check:
    with contextlib.closing(open_sensors(config.sysfs_root)) as sensors:
        reading = sensors.read(0, PERMILLE)
    if reading.source == "hwmon" and reading.node_mw is not None:
        return Check("node power", "ok", f"measured: {power_text(reading.node_mw)} (hwmon)")
    remedy = "optional: leases rely on the site file's worst case, not on this"
    if reading.source == "model":
        return Check("node power", "warning", "no sensor: modelled from the CPU", remedy)
    return Check("node power", "ok", "processors measured (RAPL), the rest modelled")


def _inlet(config: AgentConfig) -> Check:
    with contextlib.closing(open_sensors(config.sysfs_root)) as sensors:
        inlet_c = sensors.read(0, PERMILLE).inlet_c
    if inlet_c is None:
        return Check("inlet", "warning", "no inlet temperature sensor", "optional")
    return Check("inlet", "ok", f"{inlet_c:.0f} °C")


def _cgroups() -> Check:
    own = find_own_group(text_of("/proc/self/mountinfo"), text_of("/proc/self/cgroup"))
    remedy = "memory and CPU limits of jobs are not enforced; run under systemd with Delegate=yes"
    if own is None:
        return Check("cgroup v2", "warning", "not mounted here", remedy)
    if not os.access(own, os.W_OK):
        return Check("cgroup v2", "warning", f"{own} is not writable", remedy)
    offered = text_of(str(own / "cgroup.controllers")).split()
    missing = [name for name in ("cpu", "memory", "pids") if name not in offered]
    if missing:
        return Check(
            "cgroup v2", "warning", f"{own} has no controller {', '.join(missing)}", remedy
        )
    return Check("cgroup v2", "ok", f"{own} is writable, with limits")


def _containers(config: AgentConfig) -> Iterator[Check]:
    """podman, with the runtime and the images of the site file as last reported."""
    path = find_podman()
    if not path:
        found = "podman is not installed: this node gets no task with launch.how = container"
        yield Check("containers", "ok", found, "apt install podman, if it should")
        return
    with contextlib.suppress(StateUnusable):
        saved = read_state(config.state_dir)
        if saved is not None and saved.terms is not None:
            yield _container_parts(path, saved.terms.containers)
            return
    yield Check("containers", "ok", path)


def _container_parts(path: str, site: Containers) -> Check:
    if site.runtime and shutil.which(site.runtime, path=PODMAN_PATH) is None:
        remedy = f"install {site.runtime}, or set `[containers] runtime` in the site file"
        return Check(
            "containers", "failed", f"no OCI runtime {site.runtime} in {PODMAN_PATH}", remedy
        )
    is_shared = site.images.startswith("/")
    if is_shared and not os.path.isdir(f"{site.images}/overlay-images"):  # noqa: PTH112 - brief
        remedy = f"podman --root {site.images} --storage-driver overlay pull IMAGE"
        return Check("containers", "warning", f"no images in {site.images}", remedy)
    store = site.images or "images of each account"
    return Check("containers", "ok", f"{path}, {site.runtime or 'its own runtime'}, {store}")


def _state_dir(config: AgentConfig) -> Check:
    try:
        with contextlib.closing(StateDir(config.state_dir)) as files:
            files.probe()
            saved = files.load_state()
    except StateInUse:
        return Check("state", "ok", f"{config.state_dir} is in use by a running agent")
    except StateUnusable as error:
        return Check("state", "failed", str(error), "repair the directory, or set --state-dir")
    lease = saved.lease if saved is not None else None
    held = (
        f"lease on file: {power_text(lease.lease_mw)}" if lease is not None else "no lease on file"
    )
    return Check("state", "ok", f"{config.state_dir} is writable; {held}")


def _accounts(config: AgentConfig) -> Iterator[Check]:
    """Accounts that tasks run as here, and whether those can reach their directories."""
    if os.geteuid() != 0:
        found = "tasks run as this user's account, and those of other accounts do not start"
        yield Check("accounts", "ok", found)
        return
    if _may_be_root(config):
        remedy = 'set `[run_as] others = "same"`, and no user to "root", to prevent it'
        yield Check("root", "warning", "the site file lets tasks run as root here", remedy)
    try:
        closed = closed_to_others(config.state_dir)
    except OSError as error:
        found = f"{error.strerror}: {error.filename}"
        yield Check("accounts", "failed", found, "repair the path")
        return
    if closed:
        names = " ".join(map(str, closed))
        found = f"other accounts cannot reach their tasks' directories through {names}"
        remedy = f"chmod o+x {names}, or set another --state-dir"
        yield Check("accounts", "warning", found, remedy)
        return
    yield Check("accounts", "ok", "tasks of other accounts ([run_as]) can reach their directories")


def _secrets(config: AgentConfig) -> Check:
    """Entries that tasks can be given, without systemd's, which only the agent's unit has."""
    folder = config.secrets_path
    found = SecretStore(folder).find()
    if found.problems:
        return Check("secrets", "warning", found.problems[0], "until then no task gets it")
    return Check(
        "secrets", "ok", f"{counted(len(found.names), 'entry', 'entries')} in {config.secrets_path}"
    )


def _may_be_root(config: AgentConfig) -> bool:
    """As last reported by the scheduler from the site file."""
    try:
        saved = read_state(config.state_dir)
    except StateUnusable:
        return False
    return saved is not None and saved.terms is not None and saved.terms.may_be_root


def _keeper(config: AgentConfig) -> Check:
    try:
        alive = living_tasks(config.state_dir)
    except KeeperAbsent:
        return Check("keeper", "ok", "none is running: the agent will start one")
    return Check("keeper", "ok", f"running, with {counted(alive, 'task')} alive")


def _clock() -> Check:
    if time.time() < OLDEST_CLOCK_UNIX_S:
        remedy = "set the clock (timedatectl): leases do not need it, records and logs do"
        return Check("clock", "warning", f"it is {time.strftime('%Y-%m-%d')}", remedy)
    return Check("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _scheduler(config: AgentConfig) -> Iterator[Check]:
    if config.bundle is None:
        remedy = "set --bundle FILE, made by `wattline enroll NAME --role agent`"
        yield Check("keys", "warning", "no join bundle given", remedy)
        return
    try:
        bundle = load_bundle(config.bundle)
    except KeyFileError as error:
        yield Check("keys", "failed", str(error), "make a bundle with `wattline enroll`")
        return
    if bundle.role != "agent":
        found = f"{config.bundle} has role {bundle.role}"
        yield Check("keys", "failed", found, "enroll this host with --role agent")
        return
    yield Check("keys", "ok", f"node {bundle.name} of site {bundle.site}")
    yield _reach(
        lambda: ClientSocket(bundle.agent_endpoint, bundle.keys, bundle.scheduler_public_key),
        bundle.agent_endpoint,
    )


def _reach(connect: Callable[[], ClientSocket], endpoint: str) -> Check:
    try:
        with contextlib.closing(connect()) as socket:
            link = socket.wait_connected(CONNECT_TIMEOUT_S)
    except TransportError as error:
        return Check("scheduler", "failed", str(error), "correct the bundle's agent_endpoint")
    if link.state == "connected":
        return Check("scheduler", "ok", f"{endpoint} answers and accepts this key")
    found = link.detail or f"{endpoint} does not answer"
    remedy = "is the scheduler running, the port open, this node enrolled there?"
    return Check("scheduler", "failed", found, remedy)
