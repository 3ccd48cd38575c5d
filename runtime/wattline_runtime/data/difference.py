"""What differs between two versions: paths of files, by their hashes."""

from collections.abc import Iterator
from dataclasses import dataclass

from wattline_protocol.text.wording import counted
from wattline_runtime.data.manifest import Entry

NAMED = 5
"""Files named in a text."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Files that differ. Of each kind the first ones have names."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    """In the first version alone."""
    added: tuple[str, ...]
    count: int

    @property
    def text(self) -> str:
        """`2 files differ: changed a.csv; missing b.csv`; empty = none does."""
        if not self.count:
            return ""
        kinds = {"changed": self.changed, "missing": self.missing, "new": self.added}
        parts = [f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names]
        named = sum(map(len, kinds.values()))
        more = [f"and {self.count - named} more"] if self.count > named else []
        verb = "differs" if self.count == 1 else "differ"
        return f"{counted(self.count, 'file')} {verb}: {'; '.join([*parts, *more])}"


def difference(before: Iterator[Entry], after: Iterator[Entry]) -> Difference:
    """Of two manifests, which are in the order of paths; none is kept in memory."""
    found: dict[str, list[str]] = {"changed": [], "missing": [], "added": []}
    count = 0
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.path < new.path):
            kind, path, old = "missing", old.path if old else "", next(before, None)
        elif old is None or new.path < old.path:
            kind, path, new = "added", new.path, next(after, None)
        else:
            kind = "" if old.sha256 == new.sha256 else "changed"
            path, old, new = old.path, next(before, None), next(after, None)
        count += bool(kind)
        if kind and len(found[kind]) < NAMED:
            found[kind].append(path)
    changed, missing, added = (tuple(names) for names in found.values())
    return Difference(changed, missing, added, count)
