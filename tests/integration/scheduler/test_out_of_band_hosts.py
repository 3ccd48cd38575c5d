"""Hosts off by real programs and a Redfish service on loopback: what is confirmed, what not."""

import asyncio
import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.core.sites import site
from support.programs.bmcs import SimulatedBmc
from support.programs.live_scheduler import until
from support.programs.sensor_servers import SensorServer, certificate, only_for, says, sensor_server
from wattline_protocol.ids import Instant, NodeId
from wattline_protocol.site.out_of_band import OffByCommand, OffByRedfish, OutOfBand
from wattline_protocol.site.sensing import Access
from wattline_scheduler.core.model.effects import ActOutOfBand
from wattline_scheduler.core.model.events import OutOfBandDone
from wattline_scheduler.shell.bmc.power_off_runner import PowerOffRunner, seen_off
from wattline_scheduler.shell.sensing.sensor_values import ReadingFailed

TIMEOUT_S = 9.0
NO_SECRET = Access()


@pytest.fixture
def server() -> Iterator[SensorServer]:
    with sensor_server() as running:
        yield running


def mono_s() -> Instant:
    return Instant(time.monotonic())


def off(declared: OutOfBand, *, power_off: bool = True) -> Instant:
    return asyncio.run(seen_off(declared, mono_s, power_off=power_off))


def why_not(declared: OutOfBand, *, power_off: bool = True) -> str:
    with pytest.raises(ReadingFailed) as caught:
        off(declared, power_off=power_off)
    return str(caught.value)


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def switch(file: Path, timeout_s: float = TIMEOUT_S) -> OutOfBand:
    """A host whose power is the content of a file."""
    status = python("import sys; print(open(sys.argv[1]).read())", str(file))
    cut = python("import sys; open(sys.argv[1], 'w').write('off')", str(file))
    return OutOfBand(OffByCommand(status, cut), timeout_s)


def redfish(
    bmc: SimulatedBmc, access: Access = NO_SECRET, timeout_s: float = TIMEOUT_S
) -> OutOfBand:
    return OutOfBand(OffByRedfish(bmc.url, access), timeout_s)


# --- by command -----------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Path:
    file = tmp_path / "power"
    file.write_text("on\n")
    return file


def test_a_command_switches_it_off_and_another_confirms(host: Path) -> None:
    before = mono_s()
    assert before <= off(switch(host)) <= mono_s()
    assert host.read_text() == "off"


def test_a_host_that_is_on_is_only_asked(host: Path) -> None:
    assert "power state is on" in why_not(switch(host), power_off=False)
    assert host.read_text() == "on\n"


@pytest.mark.parametrize("printed", ["off", "Off", "Chassis Power is off"])
def test_what_a_status_command_may_print(printed: str) -> None:
    off(OutOfBand(OffByCommand(python(f"print({printed!r})")), TIMEOUT_S), power_off=False)


@pytest.mark.parametrize("printed", ["", "0", "not off", "off or on", "offline", "power: off?"])
def test_whatever_else_is_printed_confirms_nothing(printed: str) -> None:
    declared = OutOfBand(OffByCommand(python(f"print({printed!r})")), TIMEOUT_S)
    assert 'expected "off" or "on"' in why_not(declared, power_off=False)


def test_off_from_a_command_that_failed_confirms_nothing() -> None:
    declared = OutOfBand(OffByCommand(python("print('off'); raise SystemExit(3)")), TIMEOUT_S)
    assert "status 3" in why_not(declared, power_off=False)


def test_a_host_that_does_not_go_off_is_told_at_the_time_out(host: Path) -> None:
    stays = msgspec.structs.replace(switch(host).method, off=python("pass"))
    said = why_not(OutOfBand(stays, 3.0))
    assert said == "not off within 3 s: its power state is still on"


def test_a_status_that_hangs_keeps_nobody_from_switching_off(host: Path, tmp_path: Path) -> None:
    """The first answer is not waited for for ever; the program and its children are killed."""
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "if open(sys.argv[1]).read() == 'off': print('off'); raise SystemExit\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[2], 'w').write(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(600)\n"
    )
    status = python(code, str(host), str(pids))
    method = msgspec.structs.replace(switch(host).method, status=status)
    off(OutOfBand(method, TIMEOUT_S))
    for pid in pids.read_text().split():
        until(lambda pid=pid: not is_alive(int(pid)), f"the end of {pid}")  # type: ignore[misc] # mypy cannot type a lambda's default


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- by Redfish -----------------------------------------------------------------------------


def test_a_reset_is_asked_for_and_off_is_read_back(server: SensorServer) -> None:
    bmc = SimulatedBmc(server, lags=2)
    before = mono_s()
    assert off(redfish(bmc)) > before
    assert bmc.resets == ["ForceOff"]
    assert len(server.asked) >= 5, "it was asked until it said so"


def test_a_host_that_is_off_already_is_only_confirmed(server: SensorServer) -> None:
    bmc = SimulatedBmc(server, power="Off")
    off(redfish(bmc))
    assert bmc.resets == []


def test_a_bmc_that_refuses_is_told(server: SensorServer) -> None:
    bmc = SimulatedBmc(server, refuses=503)
    assert "HTTP 503" in why_not(redfish(bmc))
    assert bmc.power == "On"


def test_a_bmc_that_accepts_and_does_nothing_is_not_believed(server: SensorServer) -> None:
    bmc = SimulatedBmc(server)
    server.routes[f"{bmc.path}/Actions/ComputerSystem.Reset"] = says({}, 200)
    assert "power state is still on" in why_not(redfish(bmc, timeout_s=2.0))


@pytest.mark.parametrize(
    ("power", "said"),
    [
        ("PoweringOff", "power state is on"),
        ("Paused", "power state is on"),
        ("off", "power state is on"),
        (None, "has no PowerState"),
        (0, "has no PowerState"),
    ],
)
def test_only_off_is_off(server: SensorServer, power: object, said: str) -> None:
    bmc = SimulatedBmc(server)
    server.routes[bmc.path] = says({**bmc.document("On"), "PowerState": power})
    assert said in why_not(redfish(bmc), power_off=False)


def test_an_action_that_leads_to_another_host_is_not_followed(server: SensorServer) -> None:
    """The secret would go there."""
    bmc = SimulatedBmc(server)
    action = {"#ComputerSystem.Reset": {"target": "http://127.0.0.1:9/elsewhere"}}
    server.routes[bmc.path] = says({**bmc.document("On"), "Actions": action})
    assert "another host" in why_not(redfish(bmc))
    assert not server.posted


@pytest.mark.parametrize("target", ["http://[", "/\ud800"], ids=["no-host", "half-a-pair"])
def test_an_action_whose_target_is_no_url_is_named(server: SensorServer, target: str) -> None:
    """Its text reaches events: one that cannot be encoded would end the scheduler."""
    bmc = SimulatedBmc(server)
    action = {"#ComputerSystem.Reset": {"target": target}}
    server.routes[bmc.path] = says({**bmc.document("On"), "Actions": action})
    said = why_not(redfish(bmc))
    assert "is no URL" in said
    assert said.encode()


def test_a_system_without_force_off_says_so(server: SensorServer) -> None:
    bmc = SimulatedBmc(server)
    offers = {"ResetType@Redfish.AllowableValues": ["On", "GracefulShutdown"]}
    server.routes[bmc.path] = says(
        {**bmc.document("On"), "Actions": {"#ComputerSystem.Reset": offers}}
    )
    assert "no ForceOff" in why_not(redfish(bmc))


def test_over_https_with_a_verified_certificate_and_a_password(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    if made is None:
        pytest.skip("no openssl to make a certificate with")
    secret = tmp_path / "secret"
    secret.write_text("calvin\n")
    secret.chmod(0o600)
    basic = "Basic " + base64.b64encode(b"power:calvin").decode()
    with sensor_server(cert=made) as server:
        bmc = SimulatedBmc(server)
        server.routes |= {path: only_for(basic, a) for path, a in server.routes.items()}
        access = Access("power", str(secret), str(made[0]))
        off(redfish(bmc, access))
        assert bmc.resets == ["ForceOff"]
        assert "certificate" in why_not(redfish(bmc, msgspec.structs.replace(access, ca_file="")))
        secret.chmod(0o644)
        assert "chmod 600" in why_not(redfish(bmc, access))


# --- all of a site --------------------------------------------------------------------------


def test_a_host_that_hangs_delays_no_other(server: SensorServer, host: Path) -> None:
    server.routes["/hangs"] = server.hangs()
    built = site().rack("a", 2).build()
    slow = OutOfBand(OffByRedfish(f"{server.url}/hangs"), 60.0)
    ways = (slow, switch(host))
    nodes = tuple(
        msgspec.structs.replace(n, out_of_band=w) for n, w in zip(built.nodes, ways, strict=True)
    )
    runner = PowerOffRunner(msgspec.structs.replace(built, nodes=nodes), mono_s)
    runner.start()
    runner.order(ActOutOfBand(NodeId("a1"), 1, power_off=True))
    runner.order(ActOutOfBand(NodeId("a2"), 2, power_off=True))
    done: list[OutOfBandDone] = []

    def is_done() -> bool:
        done.extend(runner.take())
        return bool(done)

    until(is_done, "the one that works")
    until(lambda: server.asked, "the one that hangs was asked")
    runner.close()
    assert [(one.node, one.number, one.error) for one in done] == [("a2", 2, "")]
    assert done[0].seen_off_at is not None


def test_a_site_without_a_way_starts_no_thread() -> None:
    runner = PowerOffRunner(site().rack("a", 1).build(), mono_s)
    runner.start()
    runner.close()
    assert runner.take() == []
