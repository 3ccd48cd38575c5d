"""The secure sockets over loopback: who gets in, what is refused, and that others are unharmed."""

import os
import socket
import subprocess
import sys

import pytest
import zmq

from support.programs.wire_pairs import DEADLINE_S, QUICK_LIMITS, peers, wait_until
from wattline_protocol.trust.keys import KeyPair
from wattline_protocol.trust.zap_handler import ZapHandler
from wattline_protocol.wire.agent_messages import FromAgent
from wattline_protocol.wire.client_messages import FromClient
from wattline_protocol.wire.codec import Codec, MalformedMessage
from wattline_protocol.wire.transport import (
    ClientSocket,
    Incoming,
    ServerSocket,
    SocketLimits,
    TransportError,
)


def test_messages_travel_both_ways_and_name_their_sender() -> None:
    with peers() as p:
        client = p.connected("n1")
        assert client.send(b"beat")
        [incoming] = p.receive(1)
        assert (incoming.member.name, incoming.data) == ("n1", b"beat")
        assert p.server.send(incoming.routing_id, b"seen")
        assert client.poll(DEADLINE_S)
        assert client.recv_batch() == [b"seen"]
        assert not p.server.refused


def test_an_unknown_key_is_refused_and_counted() -> None:
    with peers() as p:
        stranger = p.client(KeyPair.generate())
        link = stranger.wait_connected(DEADLINE_S)
        assert link.state == "refused"
        assert "not enrolled" in link.detail
        assert not stranger.send(b"let me in")
        p.wait_refused("unknown_key")
        assert p.server.take_refusals()[0].reason == "unknown_key"


def test_a_member_in_another_role_is_refused_and_counted() -> None:
    with peers(roles=("submitter", "operator", "admin")) as p:
        agent = p.client(p.member("n1", "agent"))
        assert agent.wait_connected(DEADLINE_S).state == "refused"
        p.wait_refused("wrong_role")
        assert "n1 is agent" in p.server.take_refusals()[0].detail


def test_a_client_with_another_servers_key_is_not_connected() -> None:
    with peers() as p:
        client = p.client(p.member("n1"), server_key=KeyPair.generate().public)
        p.wait_refused("bad_handshake")
        assert client.wait_connected(0.3).state == "connecting"
        assert not client.send(b"x")


def test_a_peer_without_curve_gets_nowhere() -> None:
    with peers() as p, zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        plain.connect(p.server.endpoint)
        plain.send(b"plain text")
        p.wait_refused("bad_handshake")


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n" * 10, b"\xff" + bytes(8) + b"\x7f\x03" + b"?" * 500]
)
def test_garbage_on_the_port_is_cut_and_others_are_unharmed(garbage: bytes) -> None:
    with peers() as p:
        client = p.connected("n1")
        host, port = p.server.endpoint.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as raw:
            raw.sendall(garbage)
            assert _is_cut(raw)
        assert client.send(b"still here")
        assert p.receive(1)[0].data == b"still here"


def _is_cut(raw: socket.socket) -> bool:
    """True once the other side has ended the connection; TimeoutError if it never does."""
    try:
        while raw.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_the_sender_is_who_proved_the_key_whatever_the_message_says() -> None:
    with peers() as p:
        mallory = p.connected("mallory")
        assert mallory.send(b'{"node": "alice"}')
        assert p.receive(1)[0].member.name == "mallory"


def test_a_connection_may_not_name_itself() -> None:
    with peers() as p:
        keys = p.member("mallory")
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.identity = b"alice"
            dealer.curve_serverkey = p.keys.public.encode()
            dealer.curve_publickey = keys.public.encode()
            dealer.curve_secretkey = keys.secret.encode()
            dealer.connect(p.server.endpoint)
            dealer.send(b"x")
            p.wait_refused("chosen_identity")


def test_a_revoked_key_is_no_longer_heard_nor_told_anything() -> None:
    with peers() as p:
        client = p.connected("n1")
        assert client.send(b"before")
        [before] = p.receive(1)
        p.members.clear()
        assert client.send(b"after")
        p.wait_refused("revoked")
        assert not p.server.send(before.routing_id, b"secret")


def test_a_member_moved_to_another_role_is_no_longer_heard() -> None:
    with peers() as p:
        keys = p.member("n1")
        client = p.client(keys)
        assert client.wait_connected(DEADLINE_S).state == "connected"
        p.members[keys.public] = type(p.members[keys.public])("n1", "submitter", keys.public)
        assert client.send(b"x")
        p.wait_refused("wrong_role")


SMALL = SocketLimits(
    max_message_bytes=1000, reconnect_first_s=0.02, reconnect_most_s=0.1, messages_per_s=1e6
)


def test_a_message_over_the_limit_is_refused_and_the_next_one_heard() -> None:
    with peers(limits=SMALL) as p:
        client = p.connected("n1")
        assert client.send(b"x" * 1001)
        p.wait_refused("oversize")
        assert client.send(b"x" * 1000)
        assert len(p.receive(1)[0].data) == 1000


def test_a_message_far_over_the_limit_cuts_its_connection_and_no_other() -> None:
    with peers(limits=SMALL) as p:
        good, bad = p.connected("good"), p.connected("bad")
        assert bad.send(b"x" * 100_000)
        wait_until(lambda: bool(bad.monitor.poll(20)) and bad.link.connections == 2, "reconnect")
        assert good.link.connections == 1
        assert good.send(b"hello")
        assert [m.member.name for m in p.receive(1)] == ["good"]


def test_a_message_of_several_frames_is_refused() -> None:
    with peers() as p:
        client = p.connected("n1")
        client.socket.send_multipart([b"a", b"b"])
        p.wait_refused("frames")


@pytest.mark.parametrize("union", [FromAgent, FromClient])
def test_malformed_bytes_are_a_counted_refusal(union: object) -> None:
    with peers() as p:
        client = p.connected("n1")
        assert client.send(b"\xc1garbage")
        [incoming] = p.receive(1)
        with pytest.raises(MalformedMessage) as caught:
            Codec(union).decode(incoming.data)
        p.server.refuse(incoming, "malformed", str(caught.value))
        assert p.server.refused["malformed"] == 1
        assert p.server.take_refusals()[0].peer == "n1"


def test_a_flood_is_cut_to_the_rate_and_counted() -> None:
    limits = SocketLimits(messages_per_s=0.001, burst=10, receive_queue=1000)
    with peers(limits=limits) as p:
        flooding, calm = p.connected("flooding"), p.connected("calm")
        for _ in range(50):
            assert flooding.send(b"x")
        got: list[Incoming] = []

        def all_seen() -> bool:
            p.server.socket.poll(20)
            got.extend(p.server.recv_batch())
            return len(got) + p.server.refused["rate"] == 50

        wait_until(all_seen, "50 messages")
        assert len(got) == 10
        assert calm.send(b"y")
        assert p.receive(1)[0].member.name == "calm"


def test_what_waited_of_a_member_that_was_removed_is_not_heard() -> None:
    with peers() as p:
        assert p.connected("leaving").send(b"x")
        [incoming] = p.receive(1)
        assert p.server.still_heard(incoming) == incoming
        p.members.clear()
        assert p.server.still_heard(incoming) is None
        assert p.server.refused["revoked"] == 1


def test_sending_to_a_vanished_peer_says_false() -> None:
    with peers() as p:
        client = p.connected("n1")
        assert client.send(b"x")
        [incoming] = p.receive(1)
        client.close()
        wait_until(lambda: not p.server.send(incoming.routing_id, b"y"), "the peer to be gone")
        assert not p.server.send(b"\0none", b"y")


def test_sending_to_a_slow_reader_says_false_and_never_blocks() -> None:
    with peers() as p:
        client = p.connected("n1")
        assert client.send(b"x")
        [incoming] = p.receive(1)
        chunk = b"z" * 1_000_000
        assert any(not p.server.send(incoming.routing_id, chunk) for _ in range(2000))
        assert client.poll(DEADLINE_S)


def test_the_client_reconnects_and_says_so() -> None:
    with peers() as p:
        client = p.connected("n1")
        endpoint = p.server.endpoint
        p.server.close()
        wait_until(lambda: bool(client.monitor.poll(20)) and _is_lost(client), "the loss")
        assert client.link.detail == f"{endpoint} closed the connection"
        # The pipe goes a moment after the monitor has reported the loss.
        wait_until(lambda: not client.send(b"nobody there"), "sends that are refused")
        again = ServerSocket(endpoint, p.keys, p.members.get, ("agent",), QUICK_LIMITS)
        p.server = again
        link = client.wait_connected(DEADLINE_S)
        assert (link.state, link.connections) == ("connected", 2)
        assert client.send(b"back")
        assert p.receive(1)[0].data == b"back"


def _is_lost(client: ClientSocket) -> bool:
    return client.link.state == "connecting"


def test_nobody_there_is_told_in_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    client = ClientSocket(endpoint, KeyPair.generate(), KeyPair.generate().public, QUICK_LIMITS)
    try:
        link = client.wait_connected(0.3)
        assert link.state == "connecting"
        assert link.detail == f"nothing answers at {endpoint}"
    finally:
        client.close()


def test_a_failing_lookup_refuses_and_does_not_shut_the_door() -> None:
    with peers() as p:
        real = p.members
        p.members = None  # type: ignore[assignment] # makes the look-up raise
        client = p.client(KeyPair.generate())
        wait_until(lambda: p.server.refused["door_failed"] > 0, "the failed look-up")
        p.members = real
        assert client.wait_connected(DEADLINE_S).state == "refused"


def test_a_fault_of_the_door_reaches_the_owner_of_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(handler: ZapHandler) -> bool:
        raise OSError("a fault")

    monkeypatch.setattr(ZapHandler, "_note_event", fail)
    with peers() as p:
        p.client(p.member("n1"), server_key=KeyPair.generate().public)

        def is_told() -> bool:
            p.server.socket.poll(20)
            try:
                p.server.recv_batch()
            except RuntimeError as error:
                return isinstance(error.__cause__, OSError)
            return False

        wait_until(is_told, "the fault")


SERVER = """
import sys
import time
from support.programs.wire_pairs import Peers, wait_until
from wattline_protocol.wire.transport import SocketLimits

limits = SocketLimits(receive_queue=4, send_queue=100, heartbeat_s=0.02)
peers = Peers(("agent",), limits, time.monotonic)
keys = peers.member("n1")
print(peers.server.endpoint, peers.keys.public, keys.public, keys.secret, flush=True)
[first] = peers.receive(1)
while peers.server.send(first.routing_id, bytes(100_000)):
    pass
print("full", flush=True)
sys.stdin.readline()
wait_until(lambda: not peers.server.recv_batch(), "the end of its messages")
"""


def test_a_peer_that_reads_nothing_and_fails_while_its_input_is_full_does_not_end_the_server() -> (
    None
):
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "tests"},
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        endpoint, *keys = server.stdout.readline().split()
        with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
            peer.linger, peer.rcvhwm, peer.rcvbuf = 0, 1, 4096
            peer.curve_serverkey, peer.curve_publickey, peer.curve_secretkey = map(str.encode, keys)
            peer.connect(endpoint)
            peer.send(b"first")
            assert server.stdout.readline() == "full\n"
            while peer.poll(500, zmq.POLLOUT):
                peer.send(bytes(100_000))
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(0.5)  # 25 heartbeats
        server.communicate("read on\n", timeout=DEADLINE_S)
    assert server.returncode == 0


@pytest.mark.parametrize("endpoint", ["ipc:///x", "tcp://host", "tcp://h:70000", "127.0.0.1:5"])
def test_what_is_no_endpoint_is_told(endpoint: str) -> None:
    with pytest.raises(TransportError, match="tcp://HOST:PORT"):
        ClientSocket(endpoint, KeyPair.generate(), KeyPair.generate().public)


def test_an_endpoint_in_use_is_told() -> None:
    with peers() as p, pytest.raises(TransportError, match="cannot listen on"):
        ServerSocket(p.server.endpoint, p.keys, p.members.get, ("agent",))


def test_ipv6_works_where_the_host_has_it() -> None:
    keys = KeyPair.generate()
    try:
        server = ServerSocket("tcp://[::1]:*", keys, lambda key: None, ("agent",))
    except TransportError:
        pytest.skip("this host has no IPv6 loopback")
    client = ClientSocket(server.endpoint, KeyPair.generate(), keys.public, QUICK_LIMITS)
    try:
        assert client.wait_connected(DEADLINE_S).state == "refused"
    finally:
        client.close()
        server.close()
