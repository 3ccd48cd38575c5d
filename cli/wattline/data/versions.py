"""Acts on versions of data sets: list, show, verify, approve."""

import msgspec

from wattline import exits
from wattline.client import Client
from wattline.data.stores import store_errors, store_of
from wattline.verbs.run import Outcome
from wattline_protocol.data.requests import DataSetView, DataVersions, Origin, VersionView
from wattline_runtime.data.verify import verify_version


class Shown(msgspec.Struct, frozen=True):
    """`wattline data show --json`."""

    name: str
    version: int
    files: int
    bytes: int
    stored_bytes: int
    sha256: str
    made_from: tuple[Origin, ...]
    used_by: tuple[Origin, ...]


def listing(
    client: Client, *, name: str | None
) -> tuple[DataSetView, ...] | tuple[VersionView, ...]:
    """All sets, or the versions of one."""
    return client.data_sets() if name is None else client.data_versions(name).versions


def show(client: Client, *, reference: str, as_json: bool) -> DataVersions | Shown:
    """One version."""
    found = client.data_version(reference)
    version = found.version
    if not as_json:
        return found
    return Shown(
        name=version.name,
        version=version.number,
        files=version.files,
        bytes=version.bytes,
        stored_bytes=version.stored_bytes,
        sha256=version.sha256,
        made_from=version.made_from,
        used_by=version.used_by,
    )


def verify(client: Client, *, reference: str) -> Outcome:
    """Read a version in its store; exit code 1 if it is not what it says."""
    found = client.data_version(reference)
    with store_errors():
        result = verify_version(store_of(found.place), found.version.sha256)
    return Outcome(result, exits.OK if result.ok else exits.FAILED)


def approve(client: Client, *, reference: str, alias: str) -> str:
    """Approve a version."""
    return client.approve_data(reference, alias)
