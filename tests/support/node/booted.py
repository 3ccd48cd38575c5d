"""The units of systemd/ under a systemd of their own, in namespaces: a host that only tests see.

Its root is this host's behind an overlay, so that what it writes is gone with it. It has a /tmp, a
/run, a loopback device and a tree of cgroups of its own, and of units those in a folder alone.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.node.simnode import wait_until
from wattline_agent.keeper.processes.cgroup import find_own_group

CHECKOUT = Path(__file__).parents[3]
PRIVATE = ("/tmp", "/var/tmp")
"""What PrivateTmp= hides."""
SYSTEMD = Path("/lib/systemd/systemd")
SHARED = Path("/srv")
"""Where the folder lies inside."""
PREFIX = Path("/opt/wattline")
BOOT_S = 120.0
BOOT = """
set -e
folder=$1 environment=$2 python=$3
echo $$ > "$4/cgroup.procs"
exec unshare --cgroup --mount --pid --net --uts --ipc --fork --kill-child sh -ec '
mount --make-rprivate /
mkdir "$0/disk"; mount -t tmpfs disk "$0/disk"
mkdir "$0/disk/upper" "$0/disk/work" "$0/disk/root"; root=$0/disk/root
mount -t overlay -o "lowerdir=/,upperdir=$0/disk/upper,workdir=$0/disk/work" root "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"; umount -R "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount --bind "$0" "$root/srv"
for needed in "$1" "$2" /opt/wattline; do mkdir -p "$root/$needed"; done
mount --rbind "$1" "$root/$1"; mount --rbind "$2" "$root/$2"
mount --rbind "$1" "$root/opt/wattline"
chroot "$root" sh -e /srv/install.sh
mkdir "$root/before"; cd "$root"; pivot_root . before; umount -l /before
mount --make-rshared /
exec env -i PATH="$PATH" container=tests SYSTEMD_UNIT_PATH=/srv/units \\
    /lib/systemd/systemd --system --unit=tests.target --show-status=0 --log-target=console
' "$folder" "$environment" "$python" < /dev/null
"""
STUBS = ("sysinit", "basic", "shutdown", "network-online", "multi-user")
"""Targets that an installed host has, and that do nothing here."""


def why_not() -> str:
    """What keeps such a host from being booted here; empty = nothing does."""
    if os.geteuid() != 0:
        return "only root boots a host"
    if any(CHECKOUT.is_relative_to(hidden) for hidden in PRIVATE):
        return f"units with a /tmp of their own do not see this checkout, {CHECKOUT}"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    if _own_group() is None:
        return "no cgroup v2"
    tried = ["unshare", "--cgroup", "--mount", "--pid", "--net", "--fork", "true"]
    can_unshare = shutil.which("unshare") is not None
    if not can_unshare or subprocess.run(tried, check=False, capture_output=True).returncode:
        return "no namespaces may be made here"
    return ""


def _own_group() -> Path | None:
    texts = (Path(f"/proc/self/{name}").read_text() for name in ("mountinfo", "cgroup"))
    return find_own_group(*texts)


def stub_targets(units: Path) -> None:
    """What units of a service refer to."""
    for name in STUBS:
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")


@contextmanager
def booted(folder: Path) -> Iterator[None]:
    """The host, for a block. `folder` holds `units/`, with a `tests.target`, and `install.sh`,
    which is run before; it is /srv inside. What is written to `*.err` is shown on failure.
    """
    own = _own_group()
    assert own is not None
    group = own / f"wattline-tests-{os.getpid()}"
    group.mkdir()
    command = ["sh", "-c", BOOT, "sh", str(folder), sys.prefix, sys.base_prefix, str(group)]
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(command, stdout=console, stderr=console)
    try:
        yield
    except BaseException as error:
        for file in (folder / "console", *sorted(folder.glob("*.err"))):
            error.add_note(f"{file.name}:\n{file.read_text(errors='replace')[-2000:]}")
        raise
    finally:
        process.send_signal(signal.SIGKILL)  # and with it all that runs there
        process.wait()
        wait_until(lambda: _is_removed(group), "its processes and cgroups are gone")


def _is_removed(group: Path) -> bool:
    for below, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(below).rmdir()
    return not group.exists()


def skip_unless_bootable() -> None:
    """Skip the test where such a host cannot be."""
    if reason := why_not():
        pytest.skip(reason)
