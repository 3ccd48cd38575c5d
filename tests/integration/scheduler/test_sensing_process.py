"""A real scheduler with a real meter command: load that nobody booked, cooling by a verb."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.core.sites import site
from support.programs.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireAgent,
    WireClient,
    pump_until,
)
from wattline_protocol.ids import DomainId
from wattline_protocol.site.sensing import CommandSource, Meter, Plant, Sensor
from wattline_protocol.views.site_views import DomainView
from wattline_protocol.wire.client_messages import GetPower, Power

PDU, ROOM = DomainId("pdu-a"), DomainId("room")
SLOW_S = 90.0
"""What nobody booked is believed little by little: 20 s where the machine has time."""


@pytest.fixture
def watts(tmp_path: Path) -> Path:
    """What the meter says; the command prints this file."""
    path = tmp_path / "watts"
    path.write_text("0\n")
    return path


@pytest.fixture
def directory(tmp_path: Path, watts: Path) -> SiteDirectory:
    sensor = Sensor(CommandSource(("/bin/cat", str(watts))), period_s=1.0, timeout_s=1.0)
    meter = Meter(sensor, stale_after_s=20.0, frozen_after_s=3600.0)
    plant = Plant(units=4, unit_mw=250_000_000)
    built = site().rack("a", 1, kw=40.0).cooled(units=plant.units, unit_mw=plant.unit_mw).build()
    domains = tuple(
        msgspec.structs.replace(d, meter=meter) if d.id == PDU else d for d in built.domains
    )
    return SiteDirectory(tmp_path / "site", msgspec.structs.replace(built, domains=domains))


@pytest.fixture
def agent(directory: SiteDirectory, tmp_path: Path) -> Iterator[WireAgent]:
    with (
        SchedulerProcess(directory.path, tmp_path / "state").ready(),
        WireAgent(directory.bundle("a1")).join() as joined,
    ):
        yield joined


def shown(client: WireClient, domain: DomainId) -> DomainView:
    answer = client.ask(GetPower())
    assert isinstance(answer, Power)
    return next(d for d in answer.domains if d.id == domain)


def test_load_that_nobody_booked_reaches_the_budget(
    agent: WireAgent, directory: SiteDirectory, watts: Path
) -> None:
    with WireClient(directory.bundle("ada")).welcomed() as client:

        def meter_is(trust: str) -> bool:
            view = shown(client, PDU)
            watts.write_text(f"{view.measured_w:.1f}\n")
            return view.meter is not None and view.meter.trust == trust

        pump_until([agent], lambda: meter_is("ok"), "a believed meter")
        before = shown(client, PDU)
        watts.write_text(f"{before.measured_w + 5_000:.1f}\n")

        def is_kept_free() -> bool:
            now = shown(client, PDU)
            return now.meter is not None and now.meter.unbooked_w > 4_500

        pump_until([agent], is_kept_free, "5 kW kept free", SLOW_S)
        after = shown(client, PDU)
        assert after.reserved_w == pytest.approx(before.reserved_w + 5_000, rel=0.1)


def verb(directory: SiteDirectory, member: str, *words: str) -> subprocess.CompletedProcess[str]:
    bundle = str(directory.path / f"{member}.bundle")
    command = [sys.executable, "-m", "wattline", *words, "--bundle", bundle]
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_an_operator_takes_a_unit_out_of_service(
    agent: WireAgent, directory: SiteDirectory
) -> None:
    del agent
    reported = verb(
        directory, "ops", "cooling", "room", "--units-in-service", "3", "--reason", "pump"
    )
    assert reported.returncode == 0, reported.stderr
    assert "3 of 4 units" in reported.stdout
    listed = verb(directory, "ada", "cooling", "--json")
    (zone,) = json.loads(listed.stdout)
    assert zone["budget_w"] == 750_000.0
    assert zone["plant"]["units_said"] == 3
    assert "3 of 4" in verb(directory, "ada", "cooling", "room").stdout
    refused = verb(directory, "ada", "cooling", "room", "--units-in-service", "4")
    assert refused.returncode != 0
    assert "operator" in refused.stderr
    assert "pdu-a" in verb(directory, "ada", "meters").stdout
