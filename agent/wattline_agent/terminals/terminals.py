"""All attachments of clients to terminals of this node: their sockets."""

import socket
import time
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from wattline_agent.executor.launchers.terminal import BadFrame, Frame, FrameReader
from wattline_agent.logs import Log
from wattline_agent.terminals.attachment import Attachment
from wattline_agent.terminals.connect import NoTerminal, connect
from wattline_protocol.wire.task_reports.terminals import (
    CloseTerminal,
    OpenTerminal,
    ReadTerminal,
    TerminalDone,
    TerminalOrder,
    WriteTerminal,
)

MAX_ATTACHMENTS = 32
RECEIVE_BYTES = 8 * 1024
RECEIVE_EVERY_S = 1 / 256
"""Of each terminal: a task that sends frames of one byte each costs the agent little."""
FORGOTTEN_S = 60.0
"""An attachment whose client has sent nothing for so long is closed."""
NOT_ATTACHED = "not attached"
TAKEN_OVER = "another client has attached"


@dataclass(slots=True)
class _Connection:
    attachment: Attachment
    link: socket.socket
    frames: FrameReader = field(default_factory=FrameReader)
    rests_until_s: float = 0.0

    def may_receive(self, now_s: float) -> bool:
        """Whether its socket is to be read."""
        return self.attachment.wants_output and now_s >= self.rests_until_s

    def due_s(self) -> float | None:
        """When it is to be looked at without an event; None = not."""
        answer_s = self.attachment.due_s()
        if not self.attachment.wants_output or self.rests_until_s <= time.monotonic():
            return answer_s
        return self.rests_until_s if answer_s is None else min(answer_s, self.rests_until_s)


class Terminals:
    """Attachments by the tokens of their clients; for the agent's one thread."""

    def __init__(self, state_dir: Path, log: Log) -> None:
        self._state_dir, self._log = state_dir.resolve(), log
        self._open: dict[str, _Connection] = {}
        self._refused: list[TerminalDone] = []

    def carry_out(self, order: TerminalOrder) -> None:
        """Begin an act; `answers` has its answer, now or later."""
        act, now_s = order.act, time.monotonic()
        known = self._open.get(act.token)
        match act:
            case OpenTerminal():
                self._attach(order.request, act, now_s)
            case CloseTerminal():
                self._close(act.token, "it has detached")
            case _ if known is None:
                self._refused.append(TerminalDone(order.request, error=NOT_ATTACHED))
            case ReadTerminal():
                known.attachment.read(order.request, act, now_s)
            case WriteTerminal():
                for frame in known.attachment.write(order.request, act, now_s):
                    self._send(known, frame)

    def watched(self) -> list[int]:
        """Descriptors to read from."""
        now_s = time.monotonic()
        return [one.link.fileno() for one in self._open.values() if one.may_receive(now_s)]

    def receive(self, ready: Container[int]) -> None:
        """Read what terminals have sent."""
        now_s = time.monotonic()
        for one in self._open.values():
            if one.may_receive(now_s) and one.link.fileno() in ready:
                one.rests_until_s = now_s + RECEIVE_EVERY_S
                self._receive(one)

    def answers(self) -> list[TerminalDone]:
        """Answers that are due; forgets clients that are lost."""
        now_s = time.monotonic()
        done, self._refused = self._refused, []
        for one in self._open.values():
            done += one.attachment.answers(now_s)
        for token in [*self._open]:
            if now_s - self._open[token].attachment.heard_s > FORGOTTEN_S:
                self._close(token, "it has sent nothing for long")
        return done

    def due_in_s(self) -> float | None:
        """Time until an answer is due; None = none is under way."""
        dues = [due_s for one in self._open.values() if (due_s := one.due_s()) is not None]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def close(self) -> None:
        """Disconnect; the terminals continue, and their clients attach again."""
        for token in [*self._open]:
            self._close(token, "the agent stops")

    def _attach(self, request: int, act: OpenTerminal, now_s: float) -> None:
        known = self._open.get(act.token)
        if known is not None and known.attachment.open_again(request, act, now_s):
            return
        for token, other in list(self._open.items()):
            if token == act.token or other.attachment.opened.ref == act.ref:
                self._close(token, TAKEN_OVER)
        if len(self._open) >= MAX_ATTACHMENTS:
            text = f"{MAX_ATTACHMENTS} clients are attached to terminals of this node"
            self._refused.append(TerminalDone(request, error=text))
            return
        try:
            link = connect(self._state_dir, act.ref)
        except NoTerminal as error:
            self._refused.append(TerminalDone(request, error=str(error)))
            return
        opened = self._open[act.token] = _Connection(Attachment(act, request, now_s), link)
        self._log.info("terminal_attached", ref=str(act.ref))
        self._send(opened, opened.attachment.begin())

    def _close(self, token: str, why: str) -> None:
        """Answer what is under way, and disconnect."""
        one = self._open.pop(token, None)
        if one is not None:
            one.link.close()
            one.attachment.end("detached", why)
            self._refused += one.attachment.answers(time.monotonic())
            self._log.info("terminal_detached", ref=str(one.attachment.opened.ref))

    def _send(self, one: _Connection, frame: Frame) -> None:
        """Never blocks: what is under way is far less than a socket takes."""
        data = frame.encoded()
        try:
            if not one.attachment.over and one.link.send(data) < len(data):
                self._lose(one, "its terminal takes nothing")
        except OSError as error:
            self._lose(one, error.strerror or str(error))

    def _receive(self, one: _Connection) -> None:
        try:
            data = one.link.recv(RECEIVE_BYTES)
            for frame in one.frames.feed(data):
                one.attachment.receive(frame)
            if not data:
                self._lose(one, "closed")
        except BlockingIOError:
            return
        except (OSError, BadFrame) as error:
            self._lose(one, str(error))

    def _lose(self, one: _Connection, why: str) -> None:
        """It has closed the connection, with its end or without."""
        if not one.attachment.over:
            self._log.info("terminal_lost", ref=str(one.attachment.opened.ref), error=why)
        one.attachment.end("ended")
