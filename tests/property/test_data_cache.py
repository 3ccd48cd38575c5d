"""The cache of data sets: never above its limit, never without what is kept, least recently used
first; on disk as in its index, also after it was left at any point."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.data_trees import Tree, bring, tree_of
from wattline_runtime.data.cache.examine import disk_bytes, problems_of
from wattline_runtime.data.cache.folder import CacheFolder
from wattline_runtime.data.cache.index import BASE_BYTES, CacheIndex, Needs, TooLarge, cost_of

CONTENTS = [
    bytes([number]) * size for number, size in enumerate((0, 1, 4096, 5000, 20_000, 90_000))
]
PATHS = ("a", "b/c", "b/d/e", "f/g", "h")


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    files = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(CONTENTS), min_size=1)
    return tree_of(draw(files))


steps = st.lists(
    st.tuples(trees(), st.booleans(), st.sampled_from(("all", "half", "no"))), max_size=12
)
"""A version to bring, whether what was brought before it is kept, and how far it comes."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, room_kib=st.integers(0, 300))
def test_a_cache_stays_below_its_limit_and_holds_what_is_kept(
    steps: list[tuple[Tree, bool, str]], room_kib: int
) -> None:
    limit = BASE_BYTES + room_kib * 1024
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "cache"
        folder = CacheFolder(path, limit)
        used: dict[str, float] = {}
        kept: set[str] = set()
        for now_s, (tree, keeps, how) in enumerate(steps, 1_000):
            before = set(folder.index.versions)
            if bring(folder, tree, kept, now_s, how=how):
                used[tree.sha256] = now_s
                kept |= {tree.sha256} if keeps else set()
            after = set(folder.index.versions)
            gone = before - after
            assert not gone & kept
            assert all(
                used[one] < min((used[two] for two in after - kept), default=2e9) for one in gone
            )
            assert disk_bytes(path) <= folder.index.used_bytes <= limit
        assert list(problems_of(path)) == []
        known = set(folder.index.versions), folder.index.used_bytes
        folder.close()
        again = CacheFolder(path, limit)
        assert (set(again.index.versions), again.index.used_bytes) <= known
        again.close()


@given(
    sizes=st.lists(st.integers(0, 100_000), min_size=1, max_size=8),
    limit=st.integers(0, 400_000),
)
def test_what_does_not_fit_an_empty_cache_is_refused_with_its_size(
    sizes: list[int], limit: int
) -> None:
    index = CacheIndex(BASE_BYTES + limit)
    needs = Needs({bytes([at]) * 32: size for at, size in enumerate(sizes)}, 4096)
    whole = 4096 + sum(map(cost_of, sizes))
    if whole > limit:
        with pytest.raises(TooLarge) as refused:
            index.admit("v", needs, (), lambda _: ())
        found = refused.value
        assert (found.needed_bytes, found.free_bytes) == (whole, limit)
    else:
        assert index.admit("v", needs, (), lambda _: ()) == ((), (), ())
        assert index.reserved_bytes == whole
