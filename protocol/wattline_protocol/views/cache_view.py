"""The cache of data sets of a host."""

import msgspec


class CacheView(msgspec.Struct, frozen=True):
    """The cache of data sets of a host. It names none: not all of them are for all users."""

    limit_bytes: int
    used_bytes: int
    versions: int
    """Complete ones."""
    fetching: int = 0
    waiting: int = 0
    """For their store, or for room."""
    failed: int = 0
    fetched_bytes: int = 0
    fetches_bytes: int = 0
    """Of the versions that it fetches: what is there, and what all of them have."""
    copying: int = 0
    """Jobs whose checkpoints it copies into the store."""
    error: str = ""
    """Why it cannot be used."""
