"""Floods about data sets: versions that are added, and reads of all that is known of them."""

import secrets
from itertools import cycle

from wattline_bench.abuse.attack import Attack, Target
from wattline_bench.abuse.stolen import Connection, answered, flood, hello
from wattline_bench.rig.data_history import FEATURES, LIKE, MODELS, SURVEY
from wattline_protocol.data.requests import (
    AddData,
    DataPlace,
    GetData,
    GetUses,
    ListData,
    Origin,
    PrepareData,
)
from wattline_protocol.wire.client_messages import Request

UNDER_WAY = 64
SETS = 50
ORIGINS, ORIGIN_CHARS = 100, 160
"""All that a version may be made from."""
FULL_EVERY = 8
"""Versions of which one is made from so much: a user may have a thousand of those."""


def adds(target: Target, until_s: float) -> int:
    """Versions of some sets, some of them made from as much as there may be."""
    run = secrets.token_hex(8)
    place = _place(target, f"{run}-0", until_s)
    origins = tuple(
        Origin("commit", f"{run}-{at:03}".ljust(ORIGIN_CHARS, "x")) for at in range(ORIGINS)
    )

    def request(number: int) -> Request:
        return AddData(
            name=f"{run}-{number % SETS}",
            kind="dataset",
            store=place.store,
            as_of=place.as_of,
            sha256=secrets.token_hex(32),
            files=1,
            bytes=1,
            stored_bytes=1,
            made_from=() if number % FULL_EVERY else origins,
        )

    return flood(target.submitter, until_s, request, under_way=UNDER_WAY)


def reads(target: Target, until_s: float) -> int:
    """All sets and all versions of the one with the most, the lineage of thousands of versions, and
    names that are none but like many."""
    wrong = LIKE[::-1]
    lists = (ListData(), ListData(SURVEY), GetData(wrong), GetData(f"{SURVEY}@v9999"))
    lineage = (GetData(SURVEY), GetData(MODELS), GetData(FEATURES), GetUses("data", f"{SURVEY}@v1"))
    kinds: cycle[Request] = cycle((*lists, *lineage))
    return flood(target.submitter, until_s, lambda _: next(kinds), under_way=UNDER_WAY)


def _place(target: Target, name: str, until_s: float) -> DataPlace:
    bundle = target.submitter
    with Connection(bundle, bundle.client_endpoint) as connection:
        connection.say(hello(), until_s)
        place = answered(connection, 1, PrepareData(name), until_s)
    if not isinstance(place, DataPlace):
        raise RuntimeError(f"no data set can be added: {place}")
    return place


DATA = (
    Attack("data-adds", adds),
    Attack("data-reads", reads),
)
