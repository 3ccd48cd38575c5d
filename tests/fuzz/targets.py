"""What is fuzzed: each target takes bytes, and may raise only the errors it documents."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec

from fuzz import samples
from fuzz.http import HttpTarget
from support.strategies.hostile import filled
from support.strategies.structs import members_of
from wattline_agent.executor.metrics import MetricsTail, newest_lines
from wattline_protocol.data.references import parse_reference
from wattline_protocol.data.store_url import parse_store_url
from wattline_protocol.job.file import parse_job
from wattline_protocol.job.selection import parse_jobs
from wattline_protocol.lists.job_table import jobs_where
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.routing.file import parse_routes
from wattline_protocol.site.file import parse_site
from wattline_protocol.text.toml_fields import DocumentError
from wattline_protocol.text.visible import LogText
from wattline_protocol.text.windows import parse_window
from wattline_protocol.trust.keys import JoinBundle, KeyFileError, bounded_text, decoded
from wattline_protocol.wire.agent_messages import FromAgent, ToAgent
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
from wattline_protocol.wire.codec import Codec, MalformedMessage
from wattline_protocol.wire.task_reports.run_records import BadRecord, inventory_in, report_in
from wattline_runtime.data.columns.rules import parse_rules
from wattline_runtime.data.columns.summary_file import BadSummary, decode_summary
from wattline_runtime.data.manifest import Manifest, ManifestError
from wattline_runtime.wire import FrameCodec, FromWorker, ToWorker


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    feed: Callable[[bytes], object]
    documented: tuple[type[Exception], ...]
    """What it may raise for bytes that are not what it reads."""
    seeds: tuple[bytes, ...]
    """Well-formed input to begin with."""
    close: Callable[[], None] = lambda: None
    is_one_input: bool = True
    """False: seeds one after the other are so many inputs, whose number is bounded elsewhere."""


def _decoder(union: Any) -> Callable[[bytes], object]:
    return Codec[Any](union).decode


def _manifest(data: bytes) -> object:
    return list(Manifest((data,)))


def _messages(union: Any) -> tuple[bytes, ...]:
    """One message of each type, every collection with one entry."""
    return tuple(msgspec.msgpack.encode(filled(one, "text")) for one in members_of(union))


def _asks() -> tuple[bytes, ...]:
    asks = (Ask(1, filled(request, "text")) for request in members_of(Request))
    return tuple(msgspec.msgpack.encode(message) for message in (filled(ClientHello, "a"), *asks))


def _tells() -> tuple[bytes, ...]:
    tells = (Response(1, filled(answer, "text")) for answer in members_of(Answer))
    return tuple(
        msgspec.msgpack.encode(message) for message in (filled(ClientWelcome, "a"), *tells)
    )


def _frames(union: Any) -> tuple[bytes, ...]:
    return tuple(msgspec.msgpack.encode([filled(one, "text")]) for one in members_of(union))


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """Of text files: bytes that are no text are refused before they are parsed."""
    return lambda data: parse(data.decode("utf-8", errors="replace"))


def _bundle(data: bytes) -> object:
    path = Path("bundle.toml")
    return decoded(path, bounded_text(path, data), JoinBundle)


def _where(text: str) -> object:
    """What is read back from the text of a condition is that condition."""
    where = jobs_where(text, Reading(0.0, UTC))
    assert jobs_where(where.text, Reading(1.0, UTC)).text == where.text
    return where


def _metrics(data: bytes) -> object:
    tail = MetricsTail("")
    for line in newest_lines(data.split(b"\n")):
        tail._take(line)
    return msgspec.msgpack.encode(
        [tail.latest, tail.checkpoint, tail.checkpoint_trouble, report_in(tail.history.part())]
    )  # what the agent sends of it


def _record(data: bytes) -> object:
    part = zlib.compress(data)
    try:
        return report_in(part)
    except BadRecord:
        return inventory_in(part)


def _log(data: bytes) -> object:
    log = LogText()
    return [log.feed(data[at : at + 7]) for at in range(0, min(len(data), 4096), 7)], log.feed(data)


def targets() -> Iterable[Target]:
    """All of them; the HTTP one has an event loop, so it is made when it is asked for."""
    for name, union, seeds in (
        ("from-agent", FromAgent, _messages(FromAgent)),
        ("to-agent", ToAgent, _messages(ToAgent)),
        ("from-client", FromClient, _asks()),
        ("to-client", ToClient, _tells()),
    ):
        yield Target(name, _decoder(union), (MalformedMessage,), seeds)
    for name, union in (("from-worker", FromWorker), ("to-worker", ToWorker)):
        codec = FrameCodec[Any](union)
        yield Target(name, codec.messages, (MalformedMessage,), _frames(union))
    yield Target(
        "job-file", _text(lambda text: parse_job(text, "job.toml")), (DocumentError,), samples.JOBS
    )
    yield Target(
        "route-file",
        _text(lambda text: parse_routes(text, "route.toml")),
        (DocumentError,),
        samples.ROUTES,
    )
    yield Target(
        "site-file",
        _text(lambda text: parse_site(text, "site.toml")),
        (DocumentError,),
        samples.SITES,
    )
    yield Target("data-manifest", _manifest, (ManifestError,), samples.DATA_MANIFESTS)
    yield Target("data-reference", _text(parse_reference), (ValueError,), samples.DATA_REFERENCES)
    yield Target("data-store", _text(parse_store_url), (ValueError,), samples.DATA_STORES)
    yield Target("data-rules", _text(parse_rules), (DocumentError,), samples.DATA_RULES)
    yield Target("data-summary", decode_summary, (BadSummary,), samples.DATA_SUMMARIES)
    yield Target("bundle", _bundle, (KeyFileError,), samples.BUNDLES)
    yield Target("jobs", _text(parse_jobs), (ValueError,), samples.SELECTIONS)
    yield Target("where", _text(_where), (ValueError,), samples.CONDITIONS)
    yield Target("window", _text(parse_window), (ValueError,), samples.WINDOWS)
    yield Target("metrics", _metrics, (), samples.METRICS)
    yield Target("record", _record, (BadRecord,), samples.RECORDS)
    yield Target("log", _log, (), samples.LOGS)
    http = HttpTarget()
    yield Target("http", http.feed, (), samples.REQUESTS, http.close, is_one_input=False)


def by_name() -> dict[str, Target]:
    """All targets."""
    return {target.name: target for target in targets()}


def feed(target: Target, data: bytes) -> bool:
    """Feed it; whether it was read, or refused as documented. Raises what is not documented."""
    try:
        target.feed(data)
    except target.documented:
        return False
    return True
