"""A client without a thread: what it costs is next to nothing."""

import time

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import (
    Ask,
    ClientHello,
    ClientWelcome,
    FromClient,
    Request,
    Response,
    Submit,
    Submitted,
    ToClient,
)
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.transport import ClientSocket

ANSWER_S = 20.0


class PlainClient:
    """Asks and reads answers, one after the other."""

    def __init__(self, bundle: JoinBundle) -> None:
        self._socket = ClientSocket(
            bundle.client_endpoint, bundle.keys, bundle.scheduler_public_key
        )
        self._out: Codec[FromClient] = Codec(FromClient)
        self._in: Codec[ToClient] = Codec(ToClient)
        self._inbox: list[ToClient] = []
        if self._socket.wait_connected(ANSWER_S).state != "connected":
            raise RuntimeError(f"no connection: {self._socket.link}")
        self._say(ClientHello(PROTOCOL_VERSION, "bench"))
        if not isinstance(self.next(), ClientWelcome):
            raise RuntimeError("the scheduler does not welcome this client")

    def ask(self, number: int, request: Request) -> None:
        """Ask, without waiting."""
        self._say(Ask(number, request))

    def submit(self, number: int, spec: JobSpec, token: str) -> None:
        """Ask, without waiting."""
        self.ask(number, Submit(spec, token))

    def accepted(self) -> JobId:
        """The next answer. Raises RuntimeError where it does not accept a job."""
        told = self.next()
        if not isinstance(told, Response) or not isinstance(told.answer, Submitted):
            raise RuntimeError(f"not accepted: {told}")
        return told.answer.job

    def submit_all(self, spec: JobSpec, count: int, under_way: int) -> float:
        """Submit a job so often, with that many under way; seconds until all were accepted."""
        began_s = time.perf_counter()
        for started in range(1, count + under_way + 1):
            if started <= count:
                self.submit(started, spec, f"{began_s}-{started}")
            if started > under_way:
                self.accepted()
        return time.perf_counter() - began_s

    def _say(self, message: FromClient) -> None:
        if not self._socket.send(self._out.encode(message)):
            raise RuntimeError("the connection's queue is full")

    def next(self) -> ToClient:
        """The next message."""
        until_s = time.monotonic() + ANSWER_S
        while not self._inbox:
            if time.monotonic() > until_s:
                raise RuntimeError(f"no answer within {ANSWER_S:g} s")
            if self._socket.poll(0.05):
                self._inbox += [self._in.decode(data) for data in self._socket.recv_batch()]
        return self._inbox.pop(0)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
