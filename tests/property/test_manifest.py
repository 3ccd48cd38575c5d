"""Manifests: equal trees have equal bytes, what is written is read, and damage is found."""

import hashlib
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.manifests import encode_manifest
from wattline_runtime.data.manifest import (
    MAX_PATH_BYTES,
    Entry,
    Manifest,
    ManifestError,
    check_path,
    entry_line,
    head_line,
)

PART = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cc", "Cf", "Zl", "Zp"), exclude_characters="/"
    ),
    min_size=1,
    max_size=12,
).filter(lambda part: part not in (".", ".."))
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """Files of a folder: no file is a folder as well."""
    paths = draw(st.lists(PATH, min_size=1, max_size=8, unique=True))
    folders = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, 5)}
    files = [path for path in paths if not any(one.startswith(f"{path}/") for one in folders)]
    sizes = st.integers(0, 2**40)
    return [Entry(draw(sizes), path, hashlib.sha256(path.encode()).hexdigest()) for path in files]


@settings(deadline=None)
@given(tree=trees(), data=st.data())
def test_equal_trees_have_equal_manifests_which_are_read_in_any_chunks(
    tree: list[Entry], data: st.DataObject
) -> None:
    written = encode_manifest(tree)
    assert encode_manifest(data.draw(st.permutations(tree))) == written
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=5)))
    manifest = Manifest(written[a:b] for a, b in pairwise((0, *cuts, len(written))))
    assert list(manifest) == sorted(tree, key=lambda entry: entry.path)
    assert manifest.sha256 == hashlib.sha256(written).hexdigest()
    assert (manifest.head.files, manifest.head.bytes) == (len(tree), sum(e.bytes for e in tree))


@settings(deadline=None)
@given(tree=trees(), data=st.data())
def test_a_damaged_manifest_is_refused_or_has_another_digest(
    tree: list[Entry], data: st.DataObject
) -> None:
    written = encode_manifest(tree)
    at = data.draw(st.integers(0, len(written) - 1))
    damaged = data.draw(
        st.sampled_from((written[:at], written[:at] + b"x" + written[at + 1 :], written + b"{}\n"))
    )
    assume(damaged != written)
    try:
        manifest = Manifest((damaged,))
        list(manifest)
    except ManifestError:
        return
    assert manifest.sha256 != hashlib.sha256(written).hexdigest()


@given(data=st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        list(Manifest((data,)))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "not a path below"),
        ("a/../../b", "not a path below"),
        ("a//b", "not a path below"),
        ("a/", "not a path below"),
        (".", "not a path below"),
        ("", "not a path below"),
        ("a\nb", "control characters"),
        ("a\x1b[31mb", "control characters"),
        ("a\u202eb", "control characters"),
        ("a\0b", "control characters"),
        ("a\udcffb", "not UTF-8"),
        ("é" * (MAX_PATH_BYTES // 2 + 1), "the path has 1026 bytes, at most 1024"),
    ],
    ids=range(12),
)
def test_paths_that_no_manifest_holds(path: str, why: str) -> None:
    with pytest.raises(ManifestError, match=why) as caught:
        check_path(path)
    assert not set(map(ord, str(caught.value))) & {*range(32), 0x202E}


@pytest.mark.parametrize(
    "paths", [("a", "a/b"), ("a", "a.b", "a/b"), ("a", "a-", "a-b/x", "a/b/c")], ids=range(3)
)
def test_a_file_is_no_folder(paths: tuple[str, ...]) -> None:
    with pytest.raises(ManifestError, match="'a' is a file and a folder"):
        encode_manifest(Entry(0, path, "0" * 64) for path in paths)


def test_the_form_is_fixed() -> None:
    digest = hashlib.sha256(b"hi\n").hexdigest()
    assert encode_manifest([Entry(3, "a b/ü.csv", digest)]).decode() == (
        '{"bytes":3,"files":1,"wattline_manifest":1}\n'
        f'{{"bytes":3,"path":"a b/ü.csv","sha256":"{digest}"}}\n'
    )


def test_more_files_than_the_first_line_counts_are_refused_at_the_first_of_them() -> None:
    lines = (
        head_line(1, 1) + entry_line(Entry(1, "a", "0" * 64)) + entry_line(Entry(1, "b", "0" * 64))
    )

    def chunks() -> Iterator[bytes]:
        yield lines
        raise AssertionError("read on")

    with pytest.raises(ManifestError, match="more than the 1 files"):
        list(Manifest(chunks()))
