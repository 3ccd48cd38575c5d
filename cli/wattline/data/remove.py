"""Removes versions of data sets, and deletes from their stores what no other version needs."""

import time
from collections.abc import Iterator

from wattline import exits
from wattline.client import Client
from wattline.client.errors import Busy, Conflict
from wattline.data.stores import store_errors, store_of
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_protocol.data.requests import DataRemoval
from wattline_runtime.data.delete import delete_version

WAIT_S = 30.0
POLL_S = 0.2
RENEW_S = 60.0
"""The scheduler takes a deletion for ended that is not renewed for ten minutes."""


def remove(client: Client, *, reference: str, expired: bool) -> str | Iterator[str | Outcome]:
    """Remove one version, or all of a set whose retention has ended."""
    return _remove_expired(client, reference) if expired else _remove_one(client, reference)


def _remove_one(client: Client, reference: str) -> str:
    with store_errors():
        place = client.data_version(reference).place
        # Before the version is removed: one whose store is away can be removed when it is back.
        store = store_of(place)
        removal = _removal(client, reference)
        version = removal.version
        if removal.keeps_bytes:
            return f"{removal.text}; its bytes stay: another version has the same content"
        renewed_at = time.monotonic()

        def renew() -> None:
            nonlocal renewed_at
            if time.monotonic() > renewed_at + RENEW_S:
                if client.remove_data(version.reference).keeps_bytes:
                    text = f"{version.reference}: another version has the same content since"
                    raise ActFailed(f"{text}; the rest of its bytes stay")
                renewed_at = time.monotonic()

        deleted = delete_version(store, version.sha256, client.registered, renew)
    receipt = client.report_deletion(
        version.name, version.number, objects=deleted.objects, size=deleted.bytes
    )
    return f"{removal.text}\n{receipt}"


def _removal(client: Client, reference: str) -> DataRemoval:
    """Waits while a deletion of this user is under way, or was so lately."""
    give_up_at = time.monotonic() + WAIT_S
    while True:
        try:
            return client.remove_data(reference)
        except Busy:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(POLL_S)


def _remove_expired(client: Client, name: str) -> Iterator[str | Outcome]:
    """One result for each version; those that are needed stay, and are named."""
    if "@" in name:
        raise ActFailed(f"--expired is for all versions of a set, not for {name}", exits.USAGE)
    versions = client.data_versions(name).versions
    now_unix_s = time.time() - client.clock_offset_s
    ended = [
        one.reference
        for one in versions
        if one.expires_unix_s is not None
        and one.expires_unix_s <= now_unix_s
        and one.deleted_unix_s is None
    ]
    if not ended:
        yield f"{name} has no version whose retention has ended"
    status = exits.OK
    for reference in ended:
        try:
            yield Outcome(_remove_one(client, reference), status)
        except Conflict as error:
            status = exits.FAILED
            yield Outcome(str(error), status)
