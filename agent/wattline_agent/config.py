"""Configuration of an agent: command line to `AgentConfig`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from wattline_protocol.ids import GpuIndex

DEFAULT_STATE_DIR = Path("/var/lib/wattline-agent")
DEFAULT_SYSFS_ROOT = Path("/sys")
MAX_GPUS = 256


class BadConfig(ValueError):
    """An invalid option; the text says what would be valid."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Configuration of `run_agent`."""

    bundle: Path | None
    """Join bundle created by `wattline enroll`; check and floors need none."""
    state_dir: Path = DEFAULT_STATE_DIR
    sysfs_root: Path = DEFAULT_SYSFS_ROOT
    """Root of powercap and hwmon, in place of /sys."""
    secrets_dir: Path | None = None
    """Secrets of users; None = below the state directory."""
    nvml_lib: Path | None = None
    """NVML library to load in place of the system's."""
    observe: bool = False
    """Observe mode: set no cap, start no task, report what would be done."""
    gpus: frozenset[GpuIndex] | None = None
    """GPUs this agent may cap and allocate; None = all."""
    has_keeper_service: bool = False
    """The keeper is a separate service: wait for it, never start one."""
    is_json_log: bool | None = None
    """JSON log lines; None = JSON unless standard error is a terminal."""


def parse_gpus(text: str) -> frozenset[GpuIndex]:
    """GPU indices such as "0-3,6". Raises BadConfig."""
    found: set[GpuIndex] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadConfig(f'"{part}" is not a list of GPUs such as "0-3,6"')
        low, high = int(first), int(last if dash else first)
        if high < low or high >= MAX_GPUS:
            raise BadConfig(f'"{part}" is no range of GPUs below {MAX_GPUS}')
        found.update(GpuIndex(index) for index in range(low, high + 1))
    return frozenset(found)


def parser() -> argparse.ArgumentParser:
    """Options of `python -m wattline_agent`; `wattline agent` has the same."""
    made = argparse.ArgumentParser(
        prog="wattline_agent", description="Runs the agent of this host.", allow_abbrev=False
    )
    made.add_argument("--bundle", type=Path, help="join bundle made by `wattline enroll`")
    made.add_argument("--state-dir", type=Path, default=DEFAULT_STATE_DIR, metavar="DIR")
    made.add_argument(
        "--sysfs-root",
        type=Path,
        default=DEFAULT_SYSFS_ROOT,
        metavar="DIR",
        help="read sensors below this directory instead of /sys",
    )
    made.add_argument(
        "--secrets-dir",
        type=Path,
        metavar="DIR",
        help="secrets of users, DIR/USER/ENTRY; by default below the state directory",
    )
    made.add_argument("--nvml-lib", type=Path, metavar="FILE", help="NVML library to load instead")
    made.add_argument(
        "--gpus", type=parse_gpus, metavar="LIST", help="manage only these GPUs, as in 0-3,6"
    )
    made.add_argument("--observe", action="store_true", help="set no caps and start no tasks")
    made.add_argument("--keeper-service", action="store_true", help="never start a keeper")
    made.add_argument("--check", action="store_true", help="check this host and exit")
    made.add_argument("--floors", action="store_true", help="set minimum caps and exit")
    made.add_argument("--json", action="store_true", help="log lines, or the check, as JSON")
    return made


def config_of(options: argparse.Namespace) -> AgentConfig:
    """Configuration from parsed options. Raises BadConfig."""
    if options.floors and options.observe:
        raise BadConfig("--observe sets no caps and --floors only sets caps: use one of them")
    if options.bundle is None and not options.check and not options.floors:
        raise BadConfig(
            "--bundle FILE is needed: make one with `wattline enroll NAME --role agent`"
        )
    if options.nvml_lib is not None and not options.nvml_lib.is_file():
        raise BadConfig(f"--nvml-lib {options.nvml_lib} is not a file")
    return AgentConfig(
        bundle=options.bundle,
        state_dir=options.state_dir,
        sysfs_root=options.sysfs_root,
        secrets_dir=options.secrets_dir,
        nvml_lib=options.nvml_lib,
        observe=options.observe,
        gpus=options.gpus,
        has_keeper_service=options.keeper_service,
        is_json_log=True if options.json else None,
    )
