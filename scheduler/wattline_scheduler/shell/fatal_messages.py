"""Fatal messages: those that ended a run are refused for an hour, to protect the next run.

Theory. A request that triggers a bug ends the run before anything of it is on disk. Its client then
sends it again, to every new run. So the messages being handled when a run ends by an error are
recorded, by digest, as the run ends; the next runs refuse them with an alarm. A crash of the
process, a kill, and lack of memory or power are attributed to no message and record nothing.

A request is identified by its user and its encoded form without its token: the same job submitted
again by its user is the same request. Of an agent, whose beats all differ, everything is refused,
and its node counts in full. Where the error came only when the step's records were put together,
one of several is the cause: each of them is refused once it was recorded twice.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from wattline_protocol.ids import NodeId, Now
from wattline_protocol.wire.bounds import Count, Sentence, Time, Word
from wattline_protocol.wire.client_messages import Request, Requeue, Submit
from wattline_scheduler.core.leases.fault_barrier import described
from wattline_scheduler.core.model.events import AgentMessage, ClientRequest, Event, FaultSeen
from wattline_scheduler.store.durable import replace_whole

FATAL_NAME = "fatal.json"

REFUSED_FOR_S = 3_600.0

MAX_ENTRIES = 256
"""The oldest are dropped beyond it."""

MAX_FILE_BYTES = 1024 * 1024

CERTAIN = 2
"""Points at which a message is refused: the one being handled gets them at once."""


class FatalMessage(msgspec.Struct, frozen=True):
    """A message that ended a run, or may have."""

    digest: Word[str]
    sender: Word[str]
    what: Word[str]
    """Its kind: "Submit", "Beat"."""
    node: Word[NodeId] | None
    """None: sent by a user."""
    error: Sentence
    ended_unix_s: Time[float]
    points: Count[int]

    @property
    def until_unix_s(self) -> float:
        """End of its refusal."""
        return self.ended_unix_s + REFUSED_FOR_S

    def fault(self) -> FaultSeen:
        """The alarm while it is refused."""
        text = f"{self.what} of {self.sender} crashed the scheduler ({self.error})"
        if self.node is None:
            text += ": it is refused for an hour"
            return FaultSeen("request_refused", f"site {self.what} of {self.sender}", text)
        text += ": its messages are ignored for an hour and it counts in full"
        return FaultSeen("message_refused", self.node, text, self.node)


class FatalFile(msgspec.Struct, frozen=True):
    """Content of the file."""

    messages: tuple[FatalMessage, ...] = ()


class FatalMessages:
    """Messages refused in this run, and those under way."""

    def __init__(self, path: Path, now_unix_s: float) -> None:
        """Read the records of earlier runs at `path`; an unreadable file refuses nothing."""
        self._path = path
        self.problem = ""
        """Why the file could not be read; empty = it could, or there is none."""
        self._messages = {
            one.digest: one
            for one in self._read()
            if one.ended_unix_s <= now_unix_s < one.until_unix_s
        }
        self._under_way: AgentMessage | ClientRequest | None = None
        self._step: list[AgentMessage | ClientRequest] = []
        """Messages handled in this step, whose records are not on disk yet."""

    @property
    def is_under_way(self) -> bool:
        """Whether something that may change the state is being handled."""
        return self._under_way is not None

    @property
    def refused(self) -> tuple[FatalMessage, ...]:
        """Messages that this run refuses."""
        return tuple(one for one in self._messages.values() if one.points >= CERTAIN)

    def refusal(self, event: Event, now: Now) -> FatalMessage | None:
        """Why this is not handled; None = it is. No lookup where nothing is refused."""
        if not self._messages or not isinstance(event, AgentMessage | ClientRequest):
            return None
        known = self._messages.get(_digest(event))
        is_refused = known is not None and known.points >= CERTAIN
        return known if is_refused and known and now.unix_s < known.until_unix_s else None

    def enter(self, event: Event) -> None:
        """Handling of the event begins."""
        if isinstance(event, AgentMessage | ClientRequest):
            self._under_way = event
            self._step.append(event)

    def leave(self) -> None:
        """Handling of the event has ended."""
        self._under_way = None

    def settle(self) -> None:
        """The messages handled in this step are ready for the disk."""
        self._step.clear()

    def write(self, error: BaseException, now: Now) -> None:
        """The run ends by an error: record the messages under way on disk. Raises OSError."""
        certain = self._under_way
        suspects = [certain] if certain is not None else self._step
        for event in suspects:
            self._add(event, CERTAIN if certain is not None else 1, described(error), now)
        if suspects:
            self._save()

    def _add(self, event: AgentMessage | ClientRequest, points: int, error: str, now: Now) -> None:
        digest = _digest(event)
        known = self._messages.pop(digest, None)
        node = event.node if isinstance(event, AgentMessage) else None
        message = event.message if isinstance(event, AgentMessage) else event.request
        self._messages[digest] = FatalMessage(
            digest=digest,
            sender=event.node if isinstance(event, AgentMessage) else event.user,
            what=type(message).__name__,
            node=node,
            error=error,
            ended_unix_s=now.unix_s,
            points=min(CERTAIN, points + (known.points if known else 0)),
        )

    def _read(self) -> tuple[FatalMessage, ...]:
        try:
            with open(self._path, "rb", opener=_at_once) as file:
                data = file.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise ValueError(f"it has over {MAX_FILE_BYTES} bytes")
            return msgspec.json.decode(data, type=FatalFile).messages
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, RecursionError) as error:
            self.problem = f"cannot read {self._path}, so no message is refused: {error}"
            return ()

    def _save(self) -> None:
        messages = tuple(self._messages.values())[-MAX_ENTRIES:]
        replace_whole(self._path, msgspec.json.encode(FatalFile(messages)))


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for a writer, should the file be a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _digest(event: AgentMessage | ClientRequest) -> str:
    parts: tuple[bytes, ...]
    if isinstance(event, AgentMessage):
        parts = (b"agent", event.node.encode())
    else:
        request = _without_token(event.request)
        parts = (b"user", event.user.encode(), msgspec.msgpack.encode(request))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _without_token(request: Request) -> Request:
    """A client creates a new token for each submission, and repeats it only in repeats."""
    if isinstance(request, Submit | Requeue):
        return msgspec.structs.replace(request, token="")
    return request
