"""Lineage: what a version, a run or a checkpoint was made from, and what was made from it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Literal

import msgspec
from rich.console import Group
from rich.text import Text

from wattline.client import Client
from wattline.client.errors import NotAllowed, NotFound
from wattline.runs.acts import read_run
from wattline.runs.run import Run
from wattline_protocol.data.requests import Origin, OriginKind, VersionView
from wattline_protocol.text.visible import visible_line

MAX_VERSIONS = 1_000
SHOWN_CHARS = 60


class Step(msgspec.Struct, frozen=True):
    """One thing on the way. What leads to it, or follows from it, comes next, a level deeper."""

    depth: int
    """0 = next to what the lineage is of."""
    kind: OriginKind
    name: str
    detail: str = ""
    note: str = ""
    """Why no more is known of it here."""


class Lineage(msgspec.Struct, frozen=True):
    """Both directions."""

    kind: OriginKind
    name: str
    made_from: tuple[Step, ...]
    used_by: tuple[Step, ...]
    stale: tuple[tuple[str, str], ...] = ()
    """What it was made from and has a newer version, and that one."""


def lineage(client: Client, *, of: str) -> Lineage:
    """Of a version (`net@v2`), a run (`17`) or a checkpoint (its directory)."""
    if of.startswith("/"):
        return _of_origin(client, "checkpoint", of.rstrip("/"))
    if of == "last" or of[:1].isdigit():
        run = read_run(client, of)
        found = _of_origin(client, "run", run.run)
        read = _Walk(client, "made_from").steps(_read_by(client, run))
        return msgspec.structs.replace(found, made_from=tuple(read))
    version = client.data_version(of).version
    upwards = _Walk(client, "made_from").steps(version.made_from)
    downwards = _Walk(client, "used_by").steps(version.used_by)
    return Lineage("data", version.reference, tuple(upwards), tuple(downwards), version.stale)


def _read_by(client: Client, run: Run) -> Iterator[Origin]:
    """Versions that a run has read. The walk says of one why no more is known."""
    for name in run.datasets:
        digest = ""
        with suppress(NotAllowed, NotFound):
            digest = client.data_version(name).version.sha256
        yield Origin("data", name, digest)


def _of_origin(client: Client, kind: OriginKind, name: str) -> Lineage:
    uses = client.data_uses(kind, name)
    return Lineage(kind, name, (), tuple(_Walk(client, "used_by").steps(uses)))


class _Walk:
    """Follows one direction, each version once."""

    def __init__(self, client: Client, direction: Literal["made_from", "used_by"]) -> None:
        self._client = client
        self._direction = direction
        self._seen: set[str] = set()

    def steps(self, origins: Iterable[Origin]) -> Iterator[Step]:
        """All of them, depth first."""
        stack = [(0, one) for one in reversed(tuple(origins))]
        while stack:
            depth, one = stack.pop()
            version = self._version(one)
            note = version if isinstance(version, str) else ""
            yield Step(depth, one.kind, one.name, one.detail, note)
            if not isinstance(version, str):
                more: Sequence[Origin] = getattr(version, self._direction)
                stack += [(depth + 1, each) for each in reversed(more)]

    def _version(self, one: Origin) -> VersionView | str:
        """The version; or why nothing follows, empty for what is none."""
        if one.kind != "data":
            return ""
        if one.name in self._seen:
            return "see above"
        if len(self._seen) >= MAX_VERSIONS:
            return f"more than {MAX_VERSIONS} versions"
        self._seen.add(one.name)
        try:
            return self._client.data_version(one.name).version
        except (NotAllowed, NotFound) as error:
            return str(error)


def shown(found: Lineage) -> Group:
    """Both directions, indented by their depths."""
    parts = [
        *_part(f"{found.name} was made from", found.made_from),
        *(Text(f"{found.name} is stale: {name}; {new} is the latest") for name, new in found.stale),
        *_part(f"{found.name} is used by", found.used_by),
    ]
    return Group(*parts or [Text(f"{visible_line(found.name)}: nothing is on record")])


def _part(title: str, steps: Sequence[Step]) -> list[Text]:
    if not steps:
        return []
    return [Text(visible_line(title), "bold"), *map(_line, steps)]


def _line(step: Step) -> Text:
    more = step.note or step.detail
    more = more if len(more) <= SHOWN_CHARS else f"{more[:SHOWN_CHARS]}…"
    text = visible_line(f"{step.kind} {step.name}  {more}".rstrip())
    return Text("  " * (step.depth + 1) + text)
