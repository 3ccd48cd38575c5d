"""Readers against real programs and servers: values, refusals, hangs and garbage."""

import asyncio
import base64
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.programs.live_scheduler import until
from support.programs.sensor_servers import (
    SIMULATED_OUTLET,
    SIMULATED_POWER,
    SIMULATED_SENSOR,
    SensorServer,
    certificate,
    only_for,
    says,
    says_bytes,
    sensor_server,
)
from wattline_protocol.site.sensing import Access, CommandSource, RedfishSource, Sensor, Source
from wattline_scheduler.shell.sensing.sensor_reader import Quantity, Reader
from wattline_scheduler.shell.sensing.sensor_values import MAX_ANSWER_BYTES, ReadingFailed


def read(
    source: Source, *, timeout_s: float = 10.0, scale: float = 1.0, want: Quantity = "power"
) -> float:
    async def once() -> float:
        reader = Reader(Sensor(source, scale, timeout_s, timeout_s), want, 15.0)
        try:
            return await reader.read()
        finally:
            await reader.close()

    return asyncio.run(once())


def why_not(
    source: Source, *, timeout_s: float = 10.0, scale: float = 1.0, want: Quantity = "power"
) -> str:
    with pytest.raises(ReadingFailed) as caught:
        read(source, timeout_s=timeout_s, scale=scale, want=want)
    return str(caught.value)


def python(code: str, pointer: str = "") -> CommandSource:
    return CommandSource((sys.executable, "-c", code), pointer)


# --- commands -------------------------------------------------------------------------------


def test_a_command_prints_the_number() -> None:
    assert read(python("print(' 3412.5 ')")) == 3412.5


def test_a_command_prints_json_in_kilowatts() -> None:
    code = 'print(\'{"outlets": [{"kw": 3.4125}]}\')'
    assert read(python(code, "/outlets/0/kw"), scale=1000) == pytest.approx(3412.5)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('nan')", "finite number"),
        ("print('three')", "expected a number, got three"),
        ("pass", "got nothing"),
        ("import sys; sys.exit('no such outlet')", "status 1: no such outlet"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        (f"print('1' * {MAX_ANSWER_BYTES + 10})", "prints more than"),
    ],
)
def test_a_command_that_gives_no_number_says_why(code: str, words: str) -> None:
    assert words in why_not(python(code))


def test_a_command_that_is_not_there() -> None:
    assert "cannot run /nowhere/pdu" in why_not(CommandSource(("/nowhere/pdu",)))


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    assert "no answer within 3 s" in why_not(python(code), timeout_s=3.0)
    for pid in pids.read_text().split():
        until(partial(is_gone, int(pid)), "the command and its child are gone")


def is_gone(pid: int) -> bool:
    """Dead, or a zombie that its new parent has not collected yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


# --- simulated Redfish hardware over HTTP -----------------------------------------------------


@pytest.fixture
def server() -> Iterator[SensorServer]:
    with sensor_server() as running:
        yield running


@pytest.mark.parametrize(
    ("resource", "watts"),
    [(SIMULATED_OUTLET, 3412.5), (SIMULATED_SENSOR, 3412.5), (SIMULATED_POWER, 5120.0)],
)
def test_power_where_the_schemas_have_it(
    server: SensorServer, resource: dict[str, object], watts: float
) -> None:
    server.routes["/redfish/v1/x"] = says(resource)
    assert read(RedfishSource(f"{server.url}/redfish/v1/x")) == watts


def test_a_sensor_in_kilowatts_and_one_of_something_else(server: SensorServer) -> None:
    server.routes["/kw"] = says({**SIMULATED_SENSOR, "ReadingUnits": "kW", "Reading": 3.5})
    server.routes["/inlet"] = says({**SIMULATED_SENSOR, "ReadingUnits": "Cel", "Reading": 24.5})
    assert read(RedfishSource(f"{server.url}/kw")) == 3500.0
    assert "measures Cel, not W" in why_not(RedfishSource(f"{server.url}/inlet"))
    assert read(RedfishSource(f"{server.url}/inlet"), want="number") == 24.5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>busy</html>", "expected JSON, got <html>busy"),
        (b'{"Reading": null}', "expected a number at /Reading, got null"),
        (b'{"Reading": true}', "got true"),
        (b'{"Reading": 1e999}', "finite number"),
        (b'{"Name": "PDU 1"}', "PDU 1 has no power reading"),
        (b'{"Reading": 0, "Status": {"State": "Absent"}}', "is Absent"),
        (b'{"Name": "\\ud800\\u001b", "Status": {"State": "Absent"}}', "?␛ is Absent"),
        (b'{"Reading": 1%s}' % (b"0" * 400), "number at /Reading is too large"),
        (b'{"Reading": 1, "ReadingUnits": ["W"]}', "measures ['W'], not W"),
        (b"[" * 100_000, "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        (b" " * (MAX_ANSWER_BYTES + 10), "more than"),
    ],
)
def test_garbage_is_refused_in_words(server: SensorServer, body: bytes, words: str) -> None:
    server.routes["/x"] = says_bytes(body)
    assert words in why_not(RedfishSource(f"{server.url}/x"))


def test_statuses_are_told(server: SensorServer) -> None:
    server.routes["/busy"] = says({"error": "busy"}, 503)
    assert "HTTP 404" in why_not(RedfishSource(f"{server.url}/gone"))
    assert "HTTP 503" in why_not(RedfishSource(f"{server.url}/busy"))


def test_a_server_that_hangs_or_drips_is_left_in_time(server: SensorServer) -> None:
    server.routes |= {"/hangs": server.hangs(), "/drips": server.drips()}
    assert "no answer within 0.5 s" in why_not(RedfishSource(f"{server.url}/hangs"), timeout_s=0.5)
    assert "no answer within 0.5 s" in why_not(RedfishSource(f"{server.url}/drips"), timeout_s=0.5)


def test_nobody_there() -> None:
    with sensor_server() as server:
        url = server.url
    assert "onnect" in why_not(RedfishSource(f"{url}/x"))


def test_secrets_come_from_a_private_file(server: SensorServer, tmp_path: Path) -> None:
    basic = base64.b64encode(b"reader:hush").decode()
    server.routes["/basic"] = only_for(f"Basic {basic}", says(SIMULATED_SENSOR))
    server.routes["/token"] = only_for("Bearer hush", says(SIMULATED_SENSOR))
    secret = tmp_path / "pdu.secret"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    named, token = Access("reader", str(secret)), Access(secret_file=str(secret))
    assert read(RedfishSource(f"{server.url}/basic", access=named)) == 3412.5
    assert read(RedfishSource(f"{server.url}/token", access=token)) == 3412.5
    assert "not allowed (HTTP 401)" in why_not(RedfishSource(f"{server.url}/token", access=named))
    secret.chmod(0o644)
    assert "others can read it" in why_not(RedfishSource(f"{server.url}/basic", access=named))


def test_certificates_are_verified(tmp_path: Path) -> None:
    cert = certificate(tmp_path)
    if cert is None:
        pytest.skip("no openssl here to make a certificate with")
    with sensor_server({"/x": says(SIMULATED_SENSOR)}, cert) as server:
        url = f"{server.url}/x"
        assert "certificate" in why_not(RedfishSource(url)).lower()
        known = Access(ca_file=str(cert[0]))
        assert read(RedfishSource(url, access=known)) == 3412.5
        nowhere = Access(ca_file=str(tmp_path / "none.pem"))
        assert "cannot use" in why_not(RedfishSource(url, access=nowhere))
