"""What a child of the fetch process opens: a store, with the rights of one account.

The child gives up all other rights before it opens the store, so that neither it nor the store can
do anything on the node that the account could not.
"""

import importlib
import os
import pwd
from collections.abc import Mapping

import msgspec

from wattline_protocol.data.requests import DataPlace
from wattline_protocol.wire.agents.data_messages import MAX_KEYS_BYTES, InStore
from wattline_runtime.data.fetch.frames import ReadFailed, Why
from wattline_runtime.data.stores.interface import (
    NotInStore,
    Store,
    StoreAway,
    StoreError,
    StoreRefused,
)
from wattline_runtime.data.stores.open_store import keys_in, open_store
from wattline_runtime.data.tree import TreeError, TreeUnsettled

Failures = (TreeError, StoreError, ValueError, OSError)
"""What work in a store raises, where the fault is not the child's own."""

S3_MODULE = "wattline_runtime.data.stores.s3"


class Opening(msgspec.Struct, frozen=True):
    """First line to the child. The secret is in no argument and no variable."""

    place: DataPlace
    account: str = ""
    """Account whose rights alone the child keeps before it opens the store; empty = its own."""
    secret: bytes = b""
    """Lines of NAME=VALUE."""


def opening_of(one: InStore, secrets: Mapping[str, bytes]) -> Opening:
    """What the child is sent; `secrets` are those of the node. Raises ReadFailed."""
    secret = secrets.get(one.opened_by, b"")
    if one.secret and not secret:
        what = f"secret {one.secret} of {one.user}, of at most {MAX_KEYS_BYTES} bytes"
        raise ReadFailed("locked", f"this node has no {what}")
    return Opening(one.place, one.account, secret)


def open_as_account(opening: Opening) -> Store:
    """The store, after all rights but those of the account are given up. To be called before there
    are threads: rights of all of them are changed together. Raises StoreError."""
    if opening.place.store.startswith("s3:"):
        importlib.import_module(S3_MODULE)
    if opening.account:
        _become(opening.account)
    return open_store(opening.place, keys_in(opening.secret))


def why_of(error: Exception) -> Why:
    """The kind of one of `Failures`."""
    match error:
        case NotInStore():
            return "missing"
        case TreeUnsettled():
            return "unsettled"
        case TreeError():
            return "unfit"
        case StoreRefused():
            return "refused"
        case StoreAway() | OSError():
            return "away"
        case _:
            return "unreadable"


def _become(account: str) -> None:
    """Keep no rights but those of the account. What is to be imported was imported before: the
    account may have no access to this installation. Raises StoreRefused."""
    try:
        found = pwd.getpwnam(account)
    except KeyError:
        raise StoreRefused(f"this host has no account {account}") from None
    if found.pw_uid == os.geteuid():
        return
    try:
        os.initgroups(found.pw_name, found.pw_gid)
        os.setresgid(found.pw_gid, found.pw_gid, found.pw_gid)
        os.setresuid(found.pw_uid, found.pw_uid, found.pw_uid)
    except PermissionError:
        text = f"the keeper is not root, and opens no store as {account}"
        raise StoreRefused(text) from None
    os.environ["HOME"] = found.pw_dir
