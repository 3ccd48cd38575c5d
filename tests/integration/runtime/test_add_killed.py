"""SIGKILL of a process that adds a version: no partial version is ever seen, and the next one ends
what was begun. `WATTLINE_KILLS` sets the number of kills."""

import os
import random
import signal
import time
from pathlib import Path

from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.stores.local import LocalStore
from wattline_runtime.data.verify import verify_version

KILLS = int(os.environ.get("WATTLINE_KILLS", "15"))
FILES = 300


def _write(root: Path, round_: int, chance: random.Random) -> None:
    """Other content in a tenth of the files."""
    for number in range(FILES):
        at = root / f"{number % 7}" / f"{number}.bin"
        if round_ == 0 or chance.random() < 0.1:
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(f"{number} {round_} ".encode() * chance.randrange(1, 2_000))


def _add_in_child(root: Path, store: LocalStore) -> int:
    child = os.fork()
    if child == 0:
        try:
            with NewVersion(root) as version:
                version.put(store)
        finally:
            os._exit(0)
    return child


def _manifests(store: LocalStore) -> list[str]:
    return [key.rpartition("/")[2] for key in store.keys("manifests/")]


def test_kills_at_any_moment(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = LocalStore(str(tmp_path / "store"))
    root, chance = tmp_path / "root", random.Random(7)
    longest_s, killed = 0.5, 0
    seen: set[str] = set()
    for round_ in range(KILLS):
        _write(root, round_, chance)
        began = time.monotonic()
        child = _add_in_child(root, store)
        time.sleep(chance.uniform(0, longest_s))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            longest_s = (longest_s + time.monotonic() - began) / 2
        for sha256 in {*_manifests(store)} - seen:
            assert verify_version(store, sha256).ok
            seen.add(sha256)
    assert killed
    with NewVersion(root) as version:
        version.put(store)
    assert all(verify_version(store, sha256).ok for sha256 in _manifests(store))
