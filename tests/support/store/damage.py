"""Damage to a store on disk, from a seed, and the list of what was acknowledged before."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from wattline_scheduler.store.digests import DIGEST, tables
from wattline_scheduler.store.verify import DB_NAME

LOG_NAME = f"{DB_NAME}-wal"
FLIPS = 50

Acknowledged = dict[str, set[int]]
"""By table the digests of its rows."""


def acknowledged(connection: sqlite3.Connection) -> Acknowledged:
    """What a store holds."""
    return {
        table: {row[0] for row in connection.execute(f"SELECT {DIGEST} FROM {table}")}
        for table in tables(connection)
    }


def crash_copy(directory: Path, target: Path) -> None:
    """The files of a store in use, as a kill of its scheduler at this moment leaves them."""
    target.mkdir()
    for file in directory.iterdir():
        if file.name != "scheduler.lock" and not file.name.endswith("-shm"):
            shutil.copyfile(file, target / file.name)


def emptied(directory: Path, chance: random.Random) -> None:
    (directory / DB_NAME).write_bytes(b"")


def deleted(directory: Path, chance: random.Random) -> None:
    (directory / DB_NAME).unlink()


def all_deleted(directory: Path, chance: random.Random) -> None:
    deleted(directory, chance)
    (directory / LOG_NAME).unlink()


def log_deleted(directory: Path, chance: random.Random) -> None:
    (directory / LOG_NAME).unlink()


def log_cut(directory: Path, chance: random.Random) -> None:
    _cut(directory / LOG_NAME, chance.choice([0.5, chance.random()]))


def database_cut(directory: Path, chance: random.Random) -> None:
    _cut(directory / DB_NAME, chance.choice([0.5, chance.random()]))


def database_flipped(directory: Path, chance: random.Random) -> None:
    _flip(directory / DB_NAME, chance)


def log_flipped(directory: Path, chance: random.Random) -> None:
    _flip(directory / LOG_NAME, chance)


def one_bit_flipped(directory: Path, chance: random.Random) -> None:
    _flip(directory / DB_NAME, chance, 1)


Damage = Callable[[Path, random.Random], None]

KINDS: tuple[Damage, ...] = (
    emptied,
    deleted,
    all_deleted,
    log_deleted,
    log_cut,
    database_cut,
    database_flipped,
    log_flipped,
    one_bit_flipped,
)


def _cut(path: Path, keep: float) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * keep))


def _flip(path: Path, chance: random.Random, flips: int = FLIPS) -> None:
    content = bytearray(path.read_bytes())
    for bit in chance.sample(range(8 * len(content)), min(flips, 8 * len(content))):
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
