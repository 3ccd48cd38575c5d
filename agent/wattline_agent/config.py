"""Configuration of an agent: command line to `AgentConfig`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from wattline_agent.secrets.secret_store import DEFAULT_NAME as SECRETS_NAME
from wattline_protocol.ids import GpuIndex
from wattline_protocol.text.quantities import parse_size_bytes

DEFAULT_STATE_DIR = Path("/var/lib/wattline-agent")
DEFAULT_SYSFS_ROOT = Path("/sys")
CACHE_NAME = "cache"
"""Below the state directory, unless `--cache-dir` names another."""
MAX_GPUS = 256
DEFAULT_CACHE_BYTES = 100 * 10**9
LEAST_CACHE_BYTES = 16 * 1024 * 1024
"""Directories of an empty one take a part of it."""


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
    cache_dir: Path | None = None
    """Cache of data sets; None: `cache` below the state directory."""
    cache_bytes: int = DEFAULT_CACHE_BYTES
    """Its size at most."""
    fetch_bytes_s: int = 0
    """Bytes that are fetched per second at most; 0 = no limit."""
    is_json_log: bool | None = None
    """JSON log lines; None = JSON unless standard error is a terminal."""

    @property
    def secrets_path(self) -> Path:
        """Where the secrets of users are."""
        return self.secrets_dir or self.state_dir / SECRETS_NAME

    @property
    def cache_path(self) -> Path:
        """Where the cache is; absolute, since the fetch process has another working directory."""
        return (self.cache_dir or self.state_dir / CACHE_NAME).absolute()


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


def parse_size(text: str) -> int:
    """A size such as 500GB. Raises BadConfig."""
    try:
        return parse_size_bytes(text)
    except ValueError as error:
        raise BadConfig(str(error)) from error


def parse_cache_size(text: str) -> int:
    """The same, large enough for a cache."""
    size_bytes = parse_size(text)
    if size_bytes < LEAST_CACHE_BYTES:
        raise BadConfig(f"{text} is too small for a cache: at least {LEAST_CACHE_BYTES >> 20}MiB")
    return size_bytes


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
    made.add_argument("--cache-dir", type=Path, metavar="DIR", help="cache of data sets")
    made.add_argument(
        "--cache-size",
        type=parse_cache_size,
        default=DEFAULT_CACHE_BYTES,
        metavar="SIZE",
        help="its size at most, as in 500GB",
    )
    made.add_argument(
        "--fetch-rate", type=parse_size, default=0, metavar="SIZE", help="bytes fetched per second"
    )
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
        cache_dir=options.cache_dir,
        cache_bytes=options.cache_size,
        fetch_bytes_s=options.fetch_rate,
        is_json_log=True if options.json else None,
    )
