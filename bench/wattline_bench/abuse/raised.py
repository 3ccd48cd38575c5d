"""What a task that runs as root draws above its lease by raising its GPUs' caps in a loop.

Real processes: a scheduler, and on each of two simulated hosts a keeper and an agent, all as root.
The budget binds, so that caps hold work down. One task of six GPUs runs as root and raises their
limits through the driver a hundred times a second; on the other two GPUs of its host, and on the
other host, tasks run as an account without rights. What the domain draws is read from the physics,
not from the agents.
"""

import os
import pwd
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from wattline import exits
from wattline.client import Client
from wattline.demo.processes import adopt_orphans
from wattline.failures import ActFailed
from wattline_bench.rig.hosts import GPUS, HostSite
from wattline_bench.rig.site import rack_site
from wattline_bench.verdict import Figures, over
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.site.model import RunAs, Site
from wattline_protocol.trust.keys import JoinBundle, load_bundle
from wattline_sim import truth

ALARM_S_MAX = 2.0
FROZEN_S_MAX = 5.0
OVER_S_MAX = 5.0
BUDGET_MW = 8_700_000
"""Two hosts with 16 busy GPUs need 8.0 kW at the knee of their curve, and would draw 13.9."""
RAISER_GPUS = 6
WATCHED_S = 25.0
"""From the first raise on."""
STEADY_S = 12.0
"""Before it: demand is seen, leases have settled."""
ROUNDING_W = 1.0
ACCOUNT = "nobody"

RAISER = """
import os, sys, time
import pynvml as nvml
signal, beat = sys.argv[1:3]
nvml.nvmlInit()
mine = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
handles = [nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in mine]
tops = [nvml.nvmlDeviceGetPowerManagementLimitConstraints(one)[1] for one in handles]
out = os.open(beat, os.O_RDWR | os.O_CREAT, 0o644)
until = 0.0
while True:
    until = time.monotonic() + 0.01
    if os.path.exists(signal):
        for one, top in zip(handles, tops):
            nvml.nvmlDeviceSetPowerManagementLimit(one, top)
        os.pwrite(out, repr(time.monotonic()).encode().ljust(32), 0)
    while time.monotonic() < until:
        pass
"""
"""Raises the limits of its GPUs while a file is there, and writes down when it last did."""

BUSY = ("sh", "-c", "while :; do :; done")


class RaisedCaps(Figures, frozen=True):
    """Seconds from the first raise on; null = it did not happen."""

    alarm_s: float | None
    """Until the alarm that names the job."""
    frozen_s: float | None
    """Until the task raised for the last time."""
    over_budget_s: float
    """Until the last second in which the domain drew more than its budget."""
    killed_innocent: int
    """Tasks without rights that did not run on."""
    peak_w: float
    """Of the domain, one second's mean."""
    budget_w: float
    why: str
    """What the job's user is told."""

    def misses(self) -> tuple[str, ...]:
        """Of every bound."""
        return (
            *_late("seconds to the alarm", self.alarm_s, ALARM_S_MAX),
            *_late("seconds to the freeze", self.frozen_s, FROZEN_S_MAX),
            *over("seconds above the budget", self.over_budget_s, OVER_S_MAX),
            *over("tasks killed that could not have done it", self.killed_innocent, 0),
        )


def _late(name: str, value: float | None, limit: float) -> tuple[str, ...]:
    return over(name, 2 * WATCHED_S if value is None else value, limit)


def measure_raised_caps() -> RaisedCaps:
    """One run. Raises ActFailed where this process is not root."""
    if os.geteuid() != 0:
        raise ActFailed(
            "--task-raises-caps starts one task as root and others as another account, which only "
            "root may; run it as root, for one in a container",
            exits.NOT_ALLOWED,
        )
    adopt_orphans()
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        Path(folder).chmod(0o711)  # accounts pass through it to their tasks
        site = HostSite(Path(folder), site=_site(), tasks_see_gpus=True)
        try:
            site.start_nodes()
            return _measured(site, Path(folder))
        finally:
            site.close()


def _site() -> Site:
    accounts = {UserName("mallory"): "root", UserName("ada"): pwd.getpwnam(ACCOUNT).pw_name}
    site = rack_site(2, site_mw=BUDGET_MW)
    return msgspec.structs.replace(site, run_as=RunAs(users=accounts))


def _measured(site: HostSite, folder: Path) -> RaisedCaps:
    signal, beat, script = folder / "raise", folder / "raised", folder / "raiser.py"
    script.write_text(RAISER, encoding="ascii")
    innocent = [_submit(site, "ada", "filler", GPUS, BUSY)]
    site.until(lambda: _run(site, innocent), "the first task runs")
    command = (sys.executable, str(script), str(signal), str(beat))
    raiser = _submit(site, "mallory", "raiser", RAISER_GPUS, command)
    innocent.append(_submit(site, "ada", "neighbour", GPUS - RAISER_GPUS, BUSY))
    site.until(lambda: _run(site, [*innocent, raiser]), "all tasks run")
    time.sleep(STEADY_S)
    pids = _pids(site, innocent)
    began_s, began_unix_s = time.monotonic(), time.time()
    signal.touch()
    time.sleep(WATCHED_S)
    alarms = [e for e in site.client.events(newest=200) if e.kind == "cap_uncontrolled"]
    named = [e.unix_s for e in alarms if f"job {raiser} of mallory" in e.text]
    drawn = _drawn_w(folder / "hardware", began_s)
    above = [at_s for at_s, watts in drawn if watts > BUDGET_MW / 1000 + ROUNDING_W]
    return RaisedCaps(
        alarm_s=round(min(named) - began_unix_s, 2) if named else None,
        frozen_s=_last_raise_s(beat, began_s),
        over_budget_s=round(max(above, default=began_s) - began_s, 2),
        killed_innocent=len(pids - _pids(site, innocent)),
        peak_w=round(max(watts for _, watts in drawn)),
        budget_w=BUDGET_MW / 1000,
        why=site.client.job(raiser).reason,
    )


def _submit(site: HostSite, user: str, name: str, gpus: int, command: tuple[str, ...]) -> JobId:
    spec = JobSpec(
        name=name,
        command=command,
        resources=Resources(gpus_per_node=gpus),
        env={"WATTLINE_SIM_PROFILE": "training-hot"},
        workdir=str(site.folder),
    )
    with Client(_member(site, user)) as client:
        return client.submit(spec)


def _member(site: HostSite, user: str) -> JoinBundle:
    bundle = site.folder / "bundles" / f"{user}.toml"
    return load_bundle(bundle) if bundle.exists() else site.live.enroll(user, "submitter")


def _run(site: HostSite, jobs: list[JobId]) -> bool:
    return len(_pids(site, jobs)) == len(jobs)


def _pids(site: HostSite, jobs: list[JobId]) -> set[tuple[JobId, int]]:
    """First processes of the tasks that run; another attempt has another one."""
    attempts = ((job, one) for job in jobs for one in site.client.job(job).attempts)
    return {(job, one.pid) for job, one in attempts if one.state == "RUNNING" and one.pid}


def _last_raise_s(beat: Path, began_s: float) -> float | None:
    """None: it raises still, or never did."""
    last_s = float(beat.read_text(encoding="ascii")) if beat.exists() else None
    if last_s is None or time.monotonic() - last_s < 1.0:
        return None
    return round(last_s - began_s, 2)


def _drawn_w(hardware: Path, since_s: float) -> list[tuple[float, float]]:
    """Wall watts of all hosts together by the end of each second."""
    seconds: dict[float, float] = {}
    for node in sorted(hardware.iterdir()):
        for sample in truth.read(node):
            if sample.monotonic_s > since_s:
                seconds[sample.monotonic_s] = seconds.get(sample.monotonic_s, 0.0) + sample.wall_w
    return sorted(seconds.items())
