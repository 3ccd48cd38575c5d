"""What differs between two manifests is what differs between their files."""

from hypothesis import given
from hypothesis import strategies as st

from wattline_runtime.data.difference import NAMED, difference
from wattline_runtime.data.manifest import Entry

FILES = st.dictionaries(
    st.text("ab/é", min_size=1, max_size=4), st.sampled_from("0123"), max_size=30
)


def entries(files: dict[str, str]) -> list[Entry]:
    return [Entry(1, path, digest * 64) for path, digest in sorted(files.items())]


@given(FILES, FILES)
def test_each_file_that_differs_is_counted_once(old: dict[str, str], new: dict[str, str]) -> None:
    found = difference(iter(entries(old)), iter(entries(new)))
    missing, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    changed = sorted(path for path in old.keys() & new.keys() if old[path] != new[path])
    assert found.count == len(missing) + len(added) + len(changed)
    assert found.missing == tuple(missing[:NAMED])
    assert found.added == tuple(added[:NAMED])
    assert found.changed == tuple(changed[:NAMED])
    assert bool(found.text) == (old != new)
