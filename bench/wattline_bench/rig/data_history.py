"""Data sets on record: as many versions as a user may have of one, and what was made from them."""

import time
from collections.abc import Iterable
from pathlib import Path

from wattline_bench.rig.history import FIRST_UNIX_S
from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import Origin
from wattline_protocol.ids import UnixTime, UserName
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

SURVEY, SURVEYS = "survey", 4_999
FEATURES, INPUTS = "features", 100
"""Each of its versions is made from so many surveys."""
MODELS, STEPS = "models", 1_000
"""The first one is made from all features, each other one from the one before."""
LIKE, LIKE_SETS = "ab" * 28, 900
"""Begin of the names of sets whose names are alike."""


def fill_data(directory: Path, owner: UserName, store_url: str) -> None:
    """Put them on record as sets of one user."""
    store, _ = Store.open(directory, now_unix_s=time.time())
    names = (SURVEY, FEATURES, MODELS, *(f"{LIKE}{at:03}" for at in range(LIKE_SETS)))
    made = UnixTime(FIRST_UNIX_S)
    rows: list[Storable] = [
        DataSetRecord(name, "dataset", owner, store_url, made) for name in names
    ]
    rows += [_version(owner, SURVEY, number) for number in range(1, SURVEYS + 1)]
    surveys = [version_text(SURVEY, number) for number in range(1, SURVEYS + 1)]
    parts = [surveys[at : at + INPUTS] for at in range(0, SURVEYS, INPUTS)]
    rows += [_version(owner, FEATURES, at, part) for at, part in enumerate(parts, 1)]
    features = [version_text(FEATURES, at) for at in range(1, len(parts) + 1)]
    for step in range(1, STEPS + 1):
        made_from = features if step == 1 else [version_text(MODELS, step - 1)]
        rows.append(_version(owner, MODELS, step, made_from))
    store.commit(rows)
    store.close()


def _version(
    owner: UserName, name: str, number: int, made_from: Iterable[str] = ()
) -> DataVersionRecord:
    return DataVersionRecord(
        name=name,
        number=number,
        sha256=f"{number:064x}",
        files=1,
        bytes=1,
        stored_bytes=1,
        created_unix_s=UnixTime(FIRST_UNIX_S + number),
        created_by=owner,
        state="published",
        made_from=tuple(Origin("data", one) for one in made_from),
    )
