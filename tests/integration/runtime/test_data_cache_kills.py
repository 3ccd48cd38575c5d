"""A cache whose process is killed at any moment: no partial version, no wrong hash, never above its
limit. `wattline bench data --kills 1000` does the same with whole fetch processes."""

import os
import random
import signal
import time
from pathlib import Path

from support.data_trees import Tree, bring, tree_of
from wattline_runtime.data.cache.examine import disk_bytes, problems_of
from wattline_runtime.data.cache.folder import CacheFolder
from wattline_runtime.data.cache.index import BASE_BYTES

KILLS = 40
LIMIT_BYTES = BASE_BYTES + 700 * 1024


def trees(count: int) -> list[Tree]:
    """Versions that share most of their files; about four fit."""
    rng = random.Random(7)
    contents = [rng.randbytes(size) for size in (10, 4_000, 30_000, 60_000) for _ in range(4)]
    return [
        tree_of({f"part-{at % 3}/file-{at}": rng.choice(contents) for at in range(8)})
        for _ in range(count)
    ]


def write_for_ever(path: Path, seed: int) -> None:
    """Bring versions in turn, until killed."""
    rng, known = random.Random(seed), trees(12)
    folder = CacheFolder(path, LIMIT_BYTES)
    while True:
        bring(folder, rng.choice(known), set(), time.time(), how=rng.choice(("all", "half")))


def test_a_killed_cache_has_whole_versions_and_is_below_its_limit(tmp_path: Path) -> None:
    path, rng, seen = tmp_path / "cache", random.Random(1), 0
    for number in range(KILLS):
        child = os.fork()
        if not child:  # it ends by the signal alone
            try:
                write_for_ever(path, number)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.0, 0.06))  # the moment of the kill, not a wait
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        if (path / "versions").is_dir():
            assert list(problems_of(path)) == []
            assert disk_bytes(path) <= LIMIT_BYTES
            seen += len(list((path / "versions").iterdir()))
    folder = CacheFolder(path, LIMIT_BYTES)
    assert folder.index.used_bytes <= LIMIT_BYTES
    assert not list((path / "tmp").iterdir())
    assert seen
