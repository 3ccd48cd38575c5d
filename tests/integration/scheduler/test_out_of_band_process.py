"""A real scheduler, a real status command and a Redfish service: hosts off by need and by verb."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.core.sites import job, site
from support.programs.bmcs import SimulatedBmc
from support.programs.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireAgent,
    WireClient,
    pump_until,
    until,
)
from support.programs.sensor_servers import sensor_server
from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.site.out_of_band import OffByCommand, OffByRedfish, OutOfBand
from wattline_protocol.views.site_views import EventView, NodeView
from wattline_protocol.wire.client_messages import (
    Done,
    Events,
    GetNode,
    ListEvents,
    Nodes,
    Shed,
    Submit,
    Submitted,
)

PDU = DomainId("pdu-a")


@pytest.fixture
def bmc() -> Iterator[SimulatedBmc]:
    with sensor_server() as server:
        yield SimulatedBmc(server, lags=1)


@pytest.fixture
def directory(tmp_path: Path, bmc: SimulatedBmc) -> SiteDirectory:
    """a1 has a BMC, a2 a program that reports whether it is off: it prints a file."""
    (tmp_path / "a2").write_text("on")
    status = (sys.executable, "-c", f"print(open({str(tmp_path / 'a2')!r}).read())")
    ways = (OutOfBand(OffByRedfish(bmc.url)), OutOfBand(OffByCommand(status)))
    built = site().rack("a", 2, kw=20.0).build()
    nodes = tuple(
        msgspec.structs.replace(n, out_of_band=w) for n, w in zip(built.nodes, ways, strict=True)
    )
    return SiteDirectory(tmp_path / "site", msgspec.structs.replace(built, nodes=nodes))


def node(client: WireClient, name: str) -> NodeView:
    answer = client.ask(GetNode(NodeId(name)))
    assert isinstance(answer, Nodes)
    return answer.nodes[0]


def events(client: WireClient, kind: str) -> list[EventView]:
    answer = client.ask(ListEvents())
    assert isinstance(answer, Events)
    return [event for event in answer.events if event.kind == kind]


def verb(directory: SiteDirectory, *words: str) -> subprocess.CompletedProcess[str]:
    bundle = str(directory.path / "ops.bundle")
    command = [sys.executable, "-m", "wattline", *words, "--bundle", bundle]
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_a_host_whose_driver_hangs_is_switched_off_for_a_lowered_budget(
    directory: SiteDirectory, bmc: SimulatedBmc, tmp_path: Path
) -> None:
    with (
        SchedulerProcess(directory.path, tmp_path / "state").ready(),
        WireAgent(directory.bundle("a1")).join() as a1,
        WireAgent(directory.bundle("a2")).join() as a2,
        WireClient(directory.bundle("ops")).welcomed() as client,
    ):
        agents = [a1, a2]
        submitted = client.ask(Submit(job().gpus(8).nodes(2).build(), "token"))
        assert isinstance(submitted, Submitted)
        pump_until(agents, lambda: a1.fake.busy() and a2.fake.busy(), "work on both")
        a1.fake.is_slow_to_ack = True
        committed_w = node(client, "a1").committed_w
        assert isinstance(client.ask(Shed(PDU, by_mw=int(2e7 - committed_w * 1000))), Done)

        def is_cut() -> bool:
            if bmc.resets:
                a1.fake.switch_off()
            return node(client, "a1").state == "off"

        pump_until(agents, is_cut, "a1 off")
        assert bmc.resets == ["ForceOff"]
        assert node(client, "a1").committed_w == 0.0
        (ordered,) = events(client, "out_of_band_ordered")
        assert (ordered.actor, ordered.node) == ("scheduler", "a1")
        assert "out-of-band status" in events(client, "node_off")[0].text
        pump_until([a2], lambda: events(client, "budget_met"), "the budget met")


def test_node_off_asks_the_host_first(
    directory: SiteDirectory, bmc: SimulatedBmc, tmp_path: Path
) -> None:
    with (
        SchedulerProcess(directory.path, tmp_path / "state").ready(),
        WireClient(directory.bundle("ops")).welcomed() as client,
    ):
        on = verb(directory, "node", "off", "a2")
        assert on.returncode != 0
        assert "power state is on" in on.stderr
        assert "--confirm a2" in on.stderr
        assert node(client, "a2").committed_w > 0
        (tmp_path / "a2").write_text("off")
        off = verb(directory, "node", "off", "a2", "--reason", "moved")
        assert off.returncode == 0, off.stderr
        assert node(client, "a2").reason == "moved"
        shown = verb(directory, "node", "off", "a1", "--power-off")
        assert shown.returncode == 0, shown.stderr
        assert bmc.resets == ["ForceOff"]
        assert [event.actor for event in events(client, "node_off")] == ["ops", "ops"]
        listed = json.loads(verb(directory, "nodes", "--json").stdout)
        assert [one["out_of_band"] for one in listed] == ["automatic", "status"]


def test_a_scheduler_that_dies_over_a_try_leaves_nothing_counted_off(
    directory: SiteDirectory, bmc: SimulatedBmc, tmp_path: Path
) -> None:
    bmc.lags = 10_000
    bundle = directory.bundle("ops")
    with SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler:
        with WireClient(bundle).welcomed() as client:
            asked = verb_later(directory, "node", "off", "a1", "--power-off")
            until(lambda: bmc.resets, "the order to switch off")
            assert node(client, "a1").committed_w > 0
        scheduler.kill()
        asked.kill()
        asked.wait()
    bmc.lags = 0
    with (
        SchedulerProcess(directory.path, tmp_path / "state").ready(),
        WireClient(bundle).welcomed() as client,
    ):
        assert node(client, "a1").committed_w > 0
        again = verb(directory, "node", "off", "a1", "--power-off")
        assert again.returncode == 0, again.stderr
        assert bmc.resets == ["ForceOff"], "it was off already: only confirmed"
        assert node(client, "a1").committed_w == 0.0


def verb_later(directory: SiteDirectory, *words: str) -> "subprocess.Popen[bytes]":
    bundle = str(directory.path / "ops.bundle")
    command = [sys.executable, "-m", "wattline", *words, "--bundle", bundle]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
