"""A scheduler's client door with canned answers: real sockets and keys, no scheduler behind."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from wattline_protocol.site.model import Role
from wattline_protocol.trust.keys import JoinBundle, load_keys
from wattline_protocol.trust.members import Member, enroll, init_site_keys
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION, Refused
from wattline_protocol.wire.client_messages import (
    Answer,
    Ask,
    ClientHello,
    ClientWelcome,
    FromClient,
    Request,
    Response,
    ToClient,
)
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.transport import Incoming, ServerSocket

Answers = Callable[[Request], Iterable[Answer]]
"""The answers to one request, in order."""


class FakeDoor:
    """Admits the clients it made bundles for; records every request it gets."""

    def __init__(
        self, directory: Path, answers: Answers, endpoint: str = "tcp://127.0.0.1:*"
    ) -> None:
        self.requests: list[Request] = []
        self.hellos = 0
        self.is_endless = False
        """True: no answer is marked as the last one, as in a watch."""
        self._answers, self._directory = answers, directory
        self._members: dict[str, Member] = {}
        self._welcome: set[bytes] = set()
        if not (directory / "keys").exists():
            init_site_keys(directory)
        self._socket = ServerSocket(
            endpoint,
            load_keys(directory / "keys/scheduler.key"),
            self._members.get,
            roles=("gateway", "submitter", "operator", "admin"),
        )
        self.endpoint = self._socket.endpoint
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-scheduler")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def bundle(self, name: str = "ops", role: Role = "operator") -> JoinBundle:
        """Enroll `name`; its bundle lies at `NAME.toml` in the directory, too."""
        bundle = enroll(
            self._directory,
            name,
            role,
            site="fake",
            agent_endpoint="tcp://127.0.0.1:9",
            client_endpoint=self.endpoint,
            bundle_path=self._directory / f"{name}.toml",
        )
        self.admit(bundle)
        return bundle

    def admit(self, bundle: JoinBundle) -> None:
        """Let in whoever holds `bundle`."""
        self._members[bundle.public_key] = Member(bundle.name, bundle.role, bundle.public_key)

    def forget_connections(self) -> None:
        """As a scheduler that lost its list of connections: asks are refused until a new hello."""
        self._welcome.clear()

    def stop(self) -> None:
        """End at once, without a word to anybody."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        read: Codec[FromClient] = Codec(FromClient)
        write: Codec[ToClient] = Codec(ToClient)
        while not self._stopping.is_set():
            self._socket.socket.poll(20)
            for incoming in self._socket.recv_batch():
                for reply in self._replies(read.decode(incoming.data), incoming):
                    self._socket.send(incoming.routing_id, write.encode(reply))
        self._socket.close()

    def _replies(self, message: FromClient, incoming: Incoming) -> Iterable[ToClient]:
        if isinstance(message, ClientHello):
            self.hellos += 1
            self._welcome.add(incoming.routing_id)
            member = incoming.member
            assert member.role != "worker"
            return [ClientWelcome(PROTOCOL_VERSION, "fake", member.name, member.role)]
        if incoming.routing_id not in self._welcome:
            return [Refused(PROTOCOL_VERSION, "say hello first")]
        return self._tells(message)

    def _tells(self, message: Ask) -> Iterable[ToClient]:
        self.requests.append(message.request)
        answers = list(self._answers(message.request))
        for place, answer in enumerate(answers, start=1):
            is_last = place == len(answers) and not self.is_endless
            yield Response(message.ask, answer, is_last)
