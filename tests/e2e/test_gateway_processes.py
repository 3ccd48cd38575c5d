"""A gateway of two processes in a real site: a killed process, successors, systemd's socket."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import psutil
import pytest

from support.programs.serving_site import ServingSite, by_systemd, steady_load, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("serving")]

TWO = ("--processes", "2")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingSite]:
    with ServingSite(tmp_path_factory.mktemp("processes")) as made:
        made.start_node("n1")
        made.start_gateway("gateway", *TWO)
        made.serve()
        made.until(lambda: made.answer() == "hello", "an answer")
        made.until(lambda: set(made.workers().values()) == {"ready"}, "it is connected to both")
        yield made


def children(pid: int) -> list[psutil.Process]:
    return sorted(psutil.Process(pid).children(), key=lambda one: one.create_time())


def gateway_pid() -> int:
    """The parent: the one whose children serve."""
    found = {p.ppid() for p in serving()}
    assert len(found) == 1
    return int(found.pop())


def answered(site: ServingSite) -> int:
    text = httpx.get(f"{site.url()}/metrics").text
    start = 'wattline_gateway_requests_total{service="echo",status="200"} '
    line = next(line for line in text.splitlines() if line.startswith(start))
    return round(float(line.removeprefix(start)))


def test_a_killed_process_is_replaced_and_its_counts_stay(site: ServingSite) -> None:
    before = answered(site)
    parent = gateway_pid()
    killed, kept = children(parent)
    with steady_load(site.url()) as load:
        site.until(lambda: load.outcomes["ok"] > 80, "answers")
        os.kill(killed.pid, signal.SIGKILL)
        site.until(lambda: len(children(parent)) == 2, "another one")
        site.until(lambda: set(site.workers().values()) == {"ready"}, "it has its worker")
        now = load.outcomes["ok"]
        site.until(lambda: load.outcomes["ok"] > now + 80, "answers afterwards")
    broken = sum(load.outcomes.values()) - load.outcomes["ok"]
    assert broken <= 2, load.outcomes  # what the killed process had
    assert kept in children(parent)
    assert abs(answered(site) - before - load.outcomes["ok"]) <= broken + 2


def test_a_successor_of_two_processes_takes_over_from_two(site: ServingSite) -> None:
    with steady_load(site.url()) as load:
        site.until(lambda: load.outcomes["ok"] > 40, "answers")
        site.start_gateway("gateway", *TWO, "--takeover", program="successor")
        assert site.ended("gateway") == 0
    assert set(load.outcomes) == {"ok"}
    site.stop("successor")
    site.start_gateway("gateway", *TWO)
    site.until(lambda: site.answer() == "hello", "the gateway is back")


def test_a_restart_behind_a_socket_of_systemd_fails_no_request(site: ServingSite) -> None:
    site.stop("gateway")
    with socket.create_server(site.address(), backlog=1024) as listener:
        within = by_systemd(listener)
        site.start_gateway("gateway", *TWO, within=within)
        site.until(lambda: site.answer() == "hello", "an answer")
        with steady_load(site.url()) as load:
            site.until(lambda: load.outcomes["ok"] > 40, "answers")
            site.stop("gateway")
            site.start_gateway("gateway", *TWO, within=within)
            now = load.outcomes["ok"]
            site.until(lambda: load.outcomes["ok"] > now + 80, "answers")
        assert set(load.outcomes) == {"ok"}
        site.stop("gateway")
    until(lambda: not serving(), "their end")


def serving() -> list[psutil.Process]:
    """Processes of gateways."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "wattline_runtime.gateway.processes" in process.cmdline():
                found.append(process)
    return found
