"""Log of bodies: of a share of a service's requests, blanked before anything is written.

The folder has one file for each service and retention: SERVICE/SECONDS.jsonl. Bodies are blanked
and written in a thread, for at most BUSY_SHARE of its time; what comes faster is left out.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from math import inf
from pathlib import Path
from threading import Event
from typing import NamedTuple

import msgspec
import structlog
from starlette.types import Message, Receive, Scope, Send

from wattline_protocol.text.names import check_name
from wattline_protocol.views.request_logs import LoggedRequest
from wattline_protocol.wire.service_settings import ServiceSettings
from wattline_runtime.disk import DISK_FULL
from wattline_runtime.gateway.client import header
from wattline_runtime.gateway.telemetry.blanking import Blanker, Unreadable
from wattline_runtime.gateway.telemetry.log_file import CHECK_S, FLUSH_S, FOLDER_MODE, LogFile
from wattline_runtime.log_reading.body_files import body_file, retention_of

log = structlog.get_logger()

MAX_BODY_BYTES = 64 * 1024
"""Longer bodies are left out."""
MAX_PENDING_BYTES = 8 * 1024 * 1024
BUSY_SHARE = 0.25
BODY_S = 1.0
"""What is not blanked by then is left out: of both bodies of a request."""
END_S = 0.5
"""For the last bodies when the gateway ends."""
OPT_OUT = b"wattline-log"
OCTETS = "application/octet-stream"
EVENTS = "text/event-stream"
ALL = 2**64
TOO_LONG = f"over {MAX_BODY_BYTES // 1024} KiB"

NOTHING = msgspec.Raw(b"null")


class LoggedBodies(LoggedRequest, frozen=True, omit_defaults=True, kw_only=True):
    """A line: the request as in the access log, with its bodies."""

    request: msgspec.Raw = NOTHING
    answer: msgspec.Raw = NOTHING
    request_left_out: str = ""
    """Why its body is missing."""
    answer_left_out: str = ""


class TakenBodies:
    """The bodies of a request, as they pass."""

    def __init__(self, content_type: str) -> None:
        self._type = _media_type(content_type)
        self._answer_type = ""
        self._request: list[bytes] = []
        self._answer: list[bytes] = []
        self._request_bytes = self._answer_bytes = 0

    @property
    def has_request(self) -> bool:
        """Not so of a request that was refused by its headers, as one without a valid key."""
        return self._request_bytes > 0

    @property
    def size(self) -> int:
        """Bytes kept."""
        return min(self._request_bytes, MAX_BODY_BYTES) + min(self._answer_bytes, MAX_BODY_BYTES)

    def receiving(self, receive: Receive) -> Receive:
        """The same messages, seen on their way."""

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self._request_bytes += _keep(
                    self._request, message.get("body", b""), self._request_bytes
                )
            return message

        return received

    def sending(self, send: Send) -> Send:
        """The same messages, seen on their way."""

        async def seen(message: Message) -> None:
            self.sent(message)
            await send(message)

        return seen

    def sent(self, message: Message) -> None:
        """A message of the answer."""
        if message["type"] == "http.response.start":
            self._answer_type = _media_type(header(message, b"content-type") or "")
        elif message["type"] == "http.response.body":
            self._answer_bytes += _keep(self._answer, message.get("body", b""), self._answer_bytes)

    def line(self, request: LoggedRequest, blanker: Blanker, until_s: float = inf) -> LoggedBodies:
        """The line to be written. `until_s`: what is not blanked by then is left out."""
        blank = partial(_blanked, blanker=blanker, until_s=until_s)
        asked, why_not = blank(self._type, self._request, self._request_bytes)
        answer, why_none = blank(self._answer_type, self._answer, self._answer_bytes)
        return LoggedBodies(
            **msgspec.structs.asdict(request),
            request=asked,
            answer=answer,
            request_left_out=why_not,
            answer_left_out=why_none,
        )


def _keep(parts: list[bytes], data: bytes, size: int) -> int:
    if size + len(data) <= MAX_BODY_BYTES:
        parts.append(data)
    else:
        parts.clear()
    return len(data)


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _blanked(
    media_type: str, parts: list[bytes], size: int, blanker: Blanker, until_s: float
) -> tuple[msgspec.Raw, str]:
    """A body, or why it is left out."""
    if size > MAX_BODY_BYTES:
        return NOTHING, TOO_LONG
    data = b"".join(parts)
    try:
        if media_type == EVENTS:
            found = msgspec.json.encode(blanker.value(_text_of(data), until_s))
        elif media_type == OCTETS:
            return NOTHING, "bytes"
        else:  # clients often send JSON under another type
            found = blanker.body(data, until_s)
    except Unreadable as error:
        return NOTHING, str(error)
    return (NOTHING, TOO_LONG) if len(found) > 2 * MAX_BODY_BYTES else (msgspec.Raw(found), "")


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    text: str | None = None
    delta: _Delta = _Delta()


class _Event(msgspec.Struct):
    choices: list[_Choice] = []


_event = msgspec.json.Decoder(_Event)


def _text_of(data: bytes) -> dict[str, list[dict[str, object]]]:
    """The text of a streamed answer, in one piece: what is to be blanked may lie in two events.
    Raises Unreadable."""
    texts: dict[int, list[str]] = {}
    for line in data.split(b"\n"):
        event = line.removeprefix(b"data: ")
        if event == line or event == b"[DONE]":
            continue
        try:
            choices = _event.decode(event).choices
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unreadable("a stream of another form") from None
        for choice in choices:
            texts.setdefault(choice.index, []).append(choice.text or choice.delta.content or "")
    return {"choices": [{"index": n, "text": "".join(parts)} for n, parts in texts.items()]}


class _Rule(NamedTuple):
    settings: ServiceSettings
    below: int
    """Requests whose sample is below it are logged."""
    blanker: Blanker
    file: LogFile


Taken = tuple[_Rule, LoggedRequest, TakenBodies]


class BodyLog:
    """The folder. Methods other than those that write run on the loop's thread."""

    def __init__(self, folder: Path, *, rotates: bool = True) -> None:
        """`rotates`: not so for all but one process. Raises OSError unless the disk is full."""
        self._folder, self._rotates = folder, rotates
        self._unmade: tuple[Path, ...] = ()
        """The folder, where the disk was full."""
        try:
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise OSError(error.errno, f"body log {folder}: {error.strerror}") from error
            self._unmade = (folder,)
            log.warning("body_log_stopped", path=str(folder), why=error.strerror)
        self._rules: dict[str, _Rule] = {}
        self._refused: dict[str, ServiceSettings] = {}
        """Services whose bodies cannot be logged, by the settings that say so."""
        self._below = 0
        """The largest of all services."""
        self._pending: list[Taken] = []
        self._pending_bytes = 0
        self._checked_s = 0.0
        self._is_ending = Event()
        self._end_s = inf
        """When the gateway ends: what is not written by then is lost."""

    # --- settings

    def change_settings(self, settings: Mapping[str, ServiceSettings]) -> None:
        """Log bodies of these services from now on."""
        wanted = {name: its for name, its in settings.items() if its.log_share > 0}
        for name in self._rules.keys() - wanted.keys():
            self._rules.pop(name).file.close()
        self._refused = {n: its for n, its in self._refused.items() if n in wanted}
        for name, its in wanted.items():
            self._change(name, its)
        self._below = max((rule.below for rule in self._rules.values()), default=0)

    def _change(self, name: str, its: ServiceSettings) -> None:
        known = self._rules.get(name)
        if (known is not None and known.settings == its) or self._refused.get(name) == its:
            return
        if known is not None:
            self._rules.pop(name).file.close()
        try:
            blanker, file = Blanker(its.log_blank), self._open(name, its)
        except (OSError, ValueError, KeyError, ImportError) as error:
            self._refused[name] = its
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            log.warning("bodies_not_logged", service=name, why=why)
            return
        self._rules[name] = _Rule(its, int(its.log_share * ALL), blanker, file)

    def _open(self, name: str, its: ServiceSettings) -> LogFile:
        folder = self._folder / check_name(name)
        return LogFile(
            "body_log",
            body_file(folder, its.log_retention_s),
            its.log_retention_s,
            rotates=self._rotates,
            folders=(*self._unmade, folder),
        )

    # --- requests

    def take(self, scope: Scope, request_id: str) -> TakenBodies | None:
        """Keep the bodies of this request; None: it is none of the sample."""
        if not self._below or sample(request_id) >= self._below or scope["method"] != "POST":
            return None
        if (header(scope, OPT_OUT) or "").strip().lower() == "no":
            return None
        return TakenBodies(header(scope, b"content-type") or "")

    def add(self, line: LoggedRequest, bodies: TakenBodies) -> None:
        """Write them soon, if its service wants them."""
        rule = self._rules.get(line.service or "")
        if rule is None or not bodies.has_request or sample(line.id) >= rule.below:
            return
        if self._pending_bytes + bodies.size > MAX_PENDING_BYTES:
            rule.file.lose(1)
            return
        self._pending.append((rule, line, bodies))
        self._pending_bytes += bodies.size

    async def run(self) -> None:
        """Write what is added, for as long as the gateway lasts."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                is_check = time.monotonic() >= self._checked_s + CHECK_S
                if self._pending or is_check:
                    await asyncio.to_thread(self.write, self._take(), is_check=is_check)
                if is_check:
                    self._checked_s = time.monotonic()
        finally:
            self._end_s = time.monotonic() + END_S
            self._is_ending.set()
            self.write(self._take(), is_check=False)
            for rule in self._rules.values():
                rule.file.close()

    def _take(self) -> list[Taken]:
        taken, self._pending, self._pending_bytes = self._pending, [], 0
        return taken

    def write(self, taken: Sequence[Taken], *, is_check: bool) -> None:
        """Blank and append bodies. `is_check`: also rotate and delete what is due."""
        lines: dict[int, tuple[LogFile, list[bytes]]] = {}
        for rule, request, bodies in taken:
            began_s = time.monotonic()
            if began_s > self._end_s:
                rule.file.lose(1)
                continue
            until_s = min(began_s + BODY_S, self._end_s)
            line = msgspec.json.encode(bodies.line(request, rule.blanker, until_s))
            lines.setdefault(id(rule.file), (rule.file, []))[1].append(line)
            # The loop's thread needs the interpreter meanwhile.
            self._is_ending.wait((time.monotonic() - began_s) * (1 / BUSY_SHARE - 1))
        current = {id(rule.file) for rule in self._rules.values()}
        for file, encoded in lines.values():
            file.write(encoded)
            if id(file) not in current:
                file.close()  # its service's settings have changed meanwhile
        if is_check:
            for rule in tuple(self._rules.values()):
                rule.file.write([])
            if self._rotates:
                self._delete_old()

    def _delete_old(self) -> None:
        """Also of services that are no more, and of longer retentions before."""
        now_s = time.time()
        for file in tuple(self._folder.glob("*/*.jsonl*")):
            retention_s = retention_of(file)
            if retention_s is None:
                continue
            rule = self._rules.get(file.parent.name)
            if rule is not None:
                retention_s = min(retention_s, rule.settings.log_retention_s)
            with suppress(OSError):  # deleted by another process, or a damaged disk: tried again
                status = file.stat()
                if status.st_size and status.st_mtime < now_s - retention_s:
                    file.unlink()


def sample(request_id: str) -> int:
    """A number from 0 to ALL that is the same for a request everywhere."""
    return int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest())
