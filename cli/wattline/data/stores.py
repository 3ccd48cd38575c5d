"""Stores as verbs use them: opened with the keys of the user, their errors those of a verb."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from wattline import exits
from wattline.failures import ActFailed
from wattline_protocol.data.requests import DataPlace
from wattline_runtime.data.manifest import ManifestError
from wattline_runtime.data.stores.interface import (
    Store,
    StoreAway,
    StoreError,
    StoreFull,
    StoreRefused,
)
from wattline_runtime.data.stores.open_store import keys_of, open_store
from wattline_runtime.data.tree import TreeError


def store_of(place: DataPlace) -> Store:
    """The store of a place, with the keys in the environment. Raises StoreError."""
    return open_store(place, keys_of(os.environ))


@contextmanager
def store_errors() -> Iterator[None]:
    """Raises ActFailed for them, with their exit codes."""
    try:
        yield
    except TreeError as error:
        raise ActFailed(str(error)) from error
    except StoreRefused as error:
        raise ActFailed(f"the store refuses: {error}", exits.NOT_ALLOWED) from error
    except StoreFull as error:
        text = f"the store is full: {error}; the same command continues once there is space"
        raise ActFailed(text, exits.UNREACHABLE) from error
    except StoreAway as error:
        raise ActFailed(f"the store is away: {error}", exits.UNREACHABLE) from error
    except (StoreError, ManifestError) as error:
        raise ActFailed(str(error)) from error
