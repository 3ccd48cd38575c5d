"""The units as systemd runs them, from boot to a task that shares a GPU."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.node.booted import BOOT_S, booted, skip_unless_bootable, stub_targets
from support.node.simnode import make_node, serving, wait_until

UNITS = Path(__file__).parents[2] / "systemd"
PYTHON = Path(sys.base_prefix)
SERVICES = ("scheduler", "gateway", "cap", "keeper", "agent")
INSTALL = """
systemd-sysusers /srv/wattline.sysusers
mkdir -p /etc/wattline
cp -r /srv/site /etc/wattline/site
chown -R wattline: /etc/wattline/site
install -m 600 /srv/site/bundles/n1.toml /etc/wattline/agent.toml
install -m 600 /srv/site/bundles/gw.toml /etc/wattline/gateway.toml
install -m 600 /srv/site/bundles/admin.toml /etc/wattline/admin.toml
install /bin/sleep /usr/bin/nvidia-cuda-mps-control
mkdir /tmp/nvidia-mps
rm -rf /var/lib/wattline-agent /var/lib/wattline-scheduler
mkdir -m 700 /var/lib/wattline-agent
"""
"""The last is of before `[run_as]`."""
DAEMON = """
[Service]
ExecStart=/usr/bin/nvidia-cuda-mps-control 1000
ExecStartPost=/bin/sh -c 'echo $MAINPID > /tmp/nvidia-mps/nvidia-cuda-mps-control.pid'
"""
LOOK = """
[Unit]
After=daemon.service wattline-agent.service wattline-scheduler.service
[Service]
Type=oneshot
StandardError=append:/srv/look.err
Environment=WATTLINE_BUNDLE=/etc/wattline/admin.toml PATH=/opt/wattline/bin:/usr/bin:/bin
ExecStart=/bin/sh /srv/look.sh
"""
LOOK_SCRIPT = """
until python -c 'import socket; socket.create_connection(("127.0.0.1", 7421))'; do sleep 0.2; done
until wattline nodes --json > /srv/nodes.json && grep -q '"state": "ok"' /srv/nodes.json
do sleep 0.2; done
wattline submit --gpu-share 0.5 --wait -- sh -c 'env; touch /tmp/by-the-task'
wattline logs 1 > /srv/log
ls /tmp > /srv/tmp
for one in scheduler gateway cap keeper agent
do echo $one $(systemctl show --value -p ActiveState -p NRestarts wattline-$one)
done > /srv/states
touch /srv/done
"""
MORE_OF_THE_SITE = """
[[gateway]]
name = "gw"
worker_endpoint = "tcp://127.0.0.1:7420"
http_address = "127.0.0.1:7421"
"""
HARDWARE = """
Environment=LD_LIBRARY_PATH=/srv/node
ReadWritePaths=/srv/node
"""
"""It is simulated, and its library writes into its folder."""


def _make_site(site: Path) -> None:
    def wattline(*words: str) -> None:
        command = [sys.executable, "-m", "wattline", *words]
        subprocess.run(command, check=True, capture_output=True)

    wattline("init", str(site), "--node", "n1", "--run-as", "nobody")
    with (site / "site.toml").open("a") as file:
        file.write(MORE_OF_THE_SITE)
    for name, role in (("n1", "agent"), ("gw", "gateway")):
        wattline("enroll", name, "--role", role, "--site", str(site))


def _changes(name: str) -> str:
    """What a drop-in changes, because of where these tests are run."""
    lines = f"[Service]\nStandardError=append:/srv/{name}.err\n"
    if name in ("agent", "cap"):
        lines += HARDWARE
    if PYTHON.is_relative_to("/root") or PYTHON.is_relative_to("/home"):
        lines += "ProtectHome=no\n"
    return lines


def _lay_out(folder: Path) -> None:
    units = folder / "units"
    units.mkdir()
    stub_targets(units)
    wants = " ".join(f"wattline-{name}.service" for name in SERVICES)
    target = f"[Unit]\nDefaultDependencies=no\nWants={wants} daemon.service look.service\n"
    (units / "tests.target").write_text(target)
    (units / "daemon.service").write_text(DAEMON)
    (units / "look.service").write_text(LOOK)
    for name in SERVICES:
        shutil.copy(UNITS / f"wattline-{name}.service", units)
        changes = units / f"wattline-{name}.service.d"
        changes.mkdir()
        (changes / "here.conf").write_text(_changes(name))
    shutil.copy(UNITS / "wattline.sysusers", folder)
    above = " ".join(map(str, (*PYTHON.parents, *Path(sys.prefix).parents)))
    (folder / "install.sh").write_text(f"{INSTALL}chmod a+x {above}\n")
    (folder / "look.sh").write_text(LOOK_SCRIPT)


@pytest.mark.timeout(180)
def test_the_units_start_and_a_task_that_shares_a_gpu_is_the_mps_daemons(tmp_path: Path) -> None:
    skip_unless_bootable()
    folder = tmp_path / "srv"
    folder.mkdir()
    _make_site(folder / "site")
    _lay_out(folder)
    node = make_node(folder / "node", gpus=1)
    with serving(node), booted(folder):
        wait_until((folder / "done").exists, "the task ran", BOOT_S)
    states = {tuple(line.split()) for line in (folder / "states").read_text().splitlines()}
    assert states == {(name, "0", "active") for name in SERVICES}, "up, and never restarted"
    (shown,) = json.loads((folder / "nodes.json").read_text())
    assert shown["state"] == "ok"
    log = (folder / "log").read_text().splitlines()
    assert "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps" in log
    assert [line for line in log if line.startswith("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=")]
    assert "USER=nobody" in log
    assert "by-the-task" in (folder / "tmp").read_text(), "tasks have the host's /tmp"
