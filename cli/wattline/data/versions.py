"""Acts on versions of data sets: list, show, verify, approve."""

from typing import Any

import msgspec

from wattline import exits
from wattline.client import Client
from wattline.data.stores import store_errors, store_of
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import DataSetView, DataVersions, VersionView
from wattline_runtime.data.verify import verify_version


def listing(
    client: Client, *, name: str | None, stale: bool
) -> tuple[DataSetView, ...] | tuple[VersionView, ...]:
    """All sets, or those whose newest version is stale; or the versions of one."""
    if name is not None and stale:
        raise ActFailed(f"--stale selects among all sets: omit {name}", exits.USAGE)
    if name is not None:
        return client.data_versions(name).versions
    sets = client.data_sets()
    return tuple(one for one in sets if _is_stale(client, one)) if stale else sets


def _is_stale(client: Client, one: DataSetView) -> bool:
    """Asked of each set: one answer about all would take the scheduler long."""
    if not one.newest:
        return False
    return bool(client.data_version(version_text(one.name, one.newest)).version.stale)


def show(client: Client, *, reference: str, as_json: bool) -> DataVersions | dict[str, Any]:
    """One version; as JSON with its number as `version`, and with its set."""
    found = client.data_version(reference)
    if not as_json:
        return found
    fields = msgspec.structs.asdict(found.version)
    named = {"name": fields.pop("name"), "version": fields.pop("number")}
    return {**named, **fields, "set": found.about}


def verify(client: Client, *, reference: str) -> Outcome:
    """Read a version in its store; exit code 1 if it is not what it says."""
    found = client.data_version(reference)
    with store_errors():
        result = verify_version(store_of(found.place), found.version.sha256)
    return Outcome(result, exits.OK if result.ok else exits.FAILED)


def approve(client: Client, *, reference: str, alias: str) -> str:
    """Approve a version."""
    return client.approve_data(reference, alias)
