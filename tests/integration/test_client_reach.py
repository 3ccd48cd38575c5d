"""What keeps a client from its scheduler is said after a second, not after ten."""

import socket

import pytest

from wattline.client import Client, Unreachable
from wattline.client.reach import UnknownHost, trouble
from wattline_protocol.trust.keys import JoinBundle, KeyPair


def bundle(endpoint: str) -> JoinBundle:
    server, own = KeyPair.generate(), KeyPair.generate()
    agents = "tcp://127.0.0.1:1"
    keys = (server.public, own.public, own.secret)
    return JoinBundle("test", "ada", "submitter", agents, endpoint, *keys)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_closed_port_is_named() -> None:
    port = closed_port()
    assert trouble(f"tcp://127.0.0.1:{port}") == f"nothing listens at 127.0.0.1:{port}"


def test_an_open_port_is_no_trouble() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert trouble(f"tcp://127.0.0.1:{server.getsockname()[1]}") == ""


def test_a_host_without_an_address_is_unknown() -> None:
    with pytest.raises(UnknownHost, match="unknown host no-such-host"):
        trouble("tcp://no-such-host.invalid:7411")


def test_trouble_is_told_once_while_it_is_still_tried() -> None:
    reported: list[str] = []
    port = closed_port()
    with (
        Client(
            bundle(f"tcp://127.0.0.1:{port}"), timeout_s=1.5, on_trouble=reported.append
        ) as client,
        pytest.raises(Unreachable),
    ):
        client.power()
    assert len(reported) == 1
    assert reported[0].startswith(f"nothing listens at 127.0.0.1:{port}; retrying for ")
