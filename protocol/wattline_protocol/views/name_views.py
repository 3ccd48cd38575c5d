"""Names for shell completion: as many as a menu shows, without what is known of each."""

from typing import Literal

import msgspec

from wattline_protocol.wire.bounds import Name

NameKind = Literal[
    "job", "open job", "node", "domain", "service", "queue", "account", "reservation", "data set"
]
MAX_NAMES = 200


class ListNames(msgspec.Struct, frozen=True, tag_field="t", tag="list_names"):
    """Names that begin with a prefix, sorted; numbers of jobs, the newest first."""

    kind: NameKind
    prefix: Name[str] = ""


class NamedView(msgspec.Struct, frozen=True):
    """A name, and a note that tells it from others; empty = none."""

    name: str
    note: str = ""


class Names(msgspec.Struct, frozen=True, tag_field="t", tag="names"):
    """At most `MAX_NAMES` of them."""

    names: tuple[NamedView, ...]
