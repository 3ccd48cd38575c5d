"""The registry of data sets: sets and their versions, resolution of references, deletions.

An object of a store may belong to several versions. A client that adds a version finds some of its
objects in the store, while another one may delete them for a removed version. `as_of` orders the
two: it changes when a deletion begins and when it ends, and a version is registered only with the
current one, while no deletion is under way in its store. So each object of a registered version was
seen after the last deletion.

Since a deletion bars others, a user has one at a time, and none for as long afterwards as it took:
no key of a submitter keeps others from adding versions.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from wattline_protocol.data.references import LATEST, Reference, version_text
from wattline_protocol.data.requests import Origin, OriginKind
from wattline_protocol.ids import Epoch, UnixTime, UserName
from wattline_protocol.job.spec import JobSpec, encoded_bytes
from wattline_protocol.text.toml_fields import nearest
from wattline_protocol.text.wording import listed
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord

STABLE = "stable"
"""The alias of the version that new ones are checked against."""

DELETION_S = 600.0
"""A deletion whose client has not reported for so long has ended."""

DELETION_MAX_S = 3_600.0
"""Of one deletion, however often it is renewed."""


class Deletion(NamedTuple):
    """Bytes of a removed version leave its store."""

    user: UserName
    begun: UnixTime
    renewed: UnixTime

    @property
    def until(self) -> float:
        """When it has ended, without a further sign of its client."""
        return min(self.renewed + DELETION_S, self.begun + DELETION_MAX_S)

    def paused_until(self, end_s: float) -> float:
        """When its user may begin the next one, if it ended at that time."""
        return end_s + max(0.0, end_s - self.begun)


@dataclass(slots=True)
class DataBook:
    """All sets by name, with their versions by number."""

    sets: dict[str, DataSetRecord] = field(default_factory=dict)
    versions: dict[str, dict[int, DataVersionRecord]] = field(default_factory=dict)
    """Removed ones too, in order of their numbers."""
    made_into: dict[tuple[OriginKind, str], dict[str, None]] = field(default_factory=dict)
    """By kind and name of an origin: versions that were made from it."""
    latest: dict[str, DataVersionRecord] = field(default_factory=dict)
    """The highest published version of each set that has one."""
    count: int = 0
    """Of versions, removed ones included."""
    counts: Counter[UserName] = field(default_factory=Counter)
    """The same by the owners of their sets."""
    origin_chars: Counter[UserName] = field(default_factory=Counter)
    """Of what the versions of each owner were made from, with the bytes of their recipes."""
    set_counts: Counter[UserName] = field(default_factory=Counter)
    """Sets by owner."""
    property_chars: Counter[UserName] = field(default_factory=Counter)
    """Of the properties of each owner's sets."""
    of_manifest: dict[str, dict[str, None]] = field(default_factory=dict)
    """By manifest: the names of its versions that are not removed."""
    undeleted: Counter[str] = field(default_factory=Counter)
    """Versions by manifest, but for those whose bytes have left their store."""
    deletions: int = 0
    """Begun and ended in this run."""
    deleting: dict[tuple[str, int], Deletion] = field(default_factory=dict)
    """By removed version; some whose clients have gone."""
    pauses: dict[UserName, float] = field(default_factory=dict)
    """When a user may begin the next deletion."""

    def restore(self, sets: Iterable[DataSetRecord], versions: Iterable[DataVersionRecord]) -> None:
        """Takes what is on record; versions in order of their numbers."""
        for one in sets:
            self.put_set(one)
        for version in versions:
            self.put_version(version)
            if version.removed_unix_s is not None and version.deleted_unix_s is None:
                at, user = version.removed_unix_s, UserName(version.removed_by)
                self.deleting[version.name, version.number] = Deletion(user, at, at)

    def put_set(self, record: DataSetRecord) -> None:
        """Adds a set, or replaces it."""
        self.property_chars[record.owner] += self.growth(record)
        if (before := self.sets.get(record.name)) is not None:
            self.set_counts[before.owner] -= 1
        self.set_counts[record.owner] += 1
        self.sets[record.name] = record
        self.versions.setdefault(record.name, {})

    def growth(self, record: DataSetRecord) -> int:
        """Characters that its properties have more than before."""
        before = self.sets.get(record.name)
        return _property_chars(record) - (_property_chars(before) if before else 0)

    def put_version(self, record: DataVersionRecord) -> None:
        """Adds a version, or replaces it."""
        of_set = self.versions[record.name]
        self._count_bytes(of_set.get(record.number), -1)
        self._count_bytes(record, 1)
        self._note_manifest(of_set.get(record.number), record)
        if record.number not in of_set:
            owner = self.sets[record.name].owner
            self.count += 1
            self.counts[owner] += 1
            self.origin_chars[owner] += chars_of(record.made_from) + recipe_bytes(record.recipe)
            for origin in record.made_from:
                made = self.made_into.setdefault((origin.kind, origin.name), {})
                made[record.reference] = None
        of_set[record.number] = record
        self._note_latest(record)

    def _note_latest(self, record: DataVersionRecord) -> None:
        known = self.latest.get(record.name)
        if record.state == "published" and (known is None or known.number <= record.number):
            self.latest[record.name] = record
        elif known is not None and known.number == record.number:
            del self.latest[record.name]
            for before in reversed(self.versions[record.name].values()):
                if before.state == "published":
                    self.latest[record.name] = before
                    return

    def _count_bytes(self, version: DataVersionRecord | None, by: int) -> None:
        if version is not None and version.deleted_unix_s is None:
            self.undeleted[version.sha256] += by
            if not self.undeleted[version.sha256]:
                del self.undeleted[version.sha256]

    def _note_manifest(self, old: DataVersionRecord | None, new: DataVersionRecord) -> None:
        if old is not None and (names := self.of_manifest.get(old.sha256)) is not None:
            names.pop(old.reference, None)
            if not names:
                del self.of_manifest[old.sha256]
        if new.state != "removed":
            self.of_manifest.setdefault(new.sha256, {})[new.reference] = None

    def live(self, name: str) -> list[DataVersionRecord]:
        """Versions of a set that are not removed, oldest first."""
        return [one for one in self.versions.get(name, {}).values() if one.state != "removed"]

    def next_number(self, name: str) -> int:
        """Number of the next version of a set."""
        return max(self.versions.get(name, ()), default=0) + 1

    def measure_of(self, name: str) -> DataVersionRecord | None:
        """The version that a new one of the set is checked against: the one approved as stable,
        else the newest that breaks no rule, or was approved none the less."""
        good = {
            one.number: one
            for one in self.live(name)
            if one.state == "published"
            and (one.verdict is None or one.verdict.ok or one.approved_by)
        }
        record = self.sets.get(name)
        stable = record.aliases.get(STABLE, 0) if record is not None else 0
        return good.get(stable) or (good[max(good)] if good else None)

    def unknown(self, name: str, user: UserName, *, is_operator: bool) -> str:
        """That there is no such set, with those that the user may read: no answer lists others."""
        sets = self.sets.values()
        names = sorted(one.name for one in sets if may_read(one, user, is_operator=is_operator))
        near = nearest(name, names)
        some = f"there are {listed(names)}" if names else "there are none"
        hint = f"the nearest is {near}" if near else some
        return f"there is no data set {name}; {hint}"

    def find(self, reference: Reference) -> DataVersionRecord | str:
        """The version of a reference, which may be removed, or why there is none."""
        of_set = self.versions.get(reference.name)
        if of_set is None:
            return f"there is no data set {reference.name}"
        if reference.number:
            found = of_set.get(reference.number)
            return found or f"{reference.text} does not exist; {self._known(reference.name)}"
        return self._of_alias(reference)

    def _of_alias(self, reference: Reference) -> DataVersionRecord | str:
        name, alias = reference.name, reference.alias
        of_set = self.versions[name]
        if alias == LATEST:
            return self.latest.get(name) or self._unpublished(name)
        number = self.sets[name].aliases.get(alias)
        if number is None:
            aliases = listed(sorted(self.sets[name].aliases)) or "none but latest"
            return f"{name} has no alias {alias}; it has {aliases} (wattline data approve --as)"
        return of_set[number]

    def _unpublished(self, name: str) -> str:
        live = self.live(name)
        hint = f"; {name}@v{live[-1].number} is a candidate until it is approved" if live else ""
        return f"{name} has no version that is published{hint}"

    def _known(self, name: str) -> str:
        live = [f"v{one.number}" for one in reversed(self.live(name))]
        return f"{name} has {listed(live)}" if live else f"{name} has no versions"

    # --- Deletions ------------------------------------------------------------------------

    def as_of(self, epoch: Epoch) -> str:
        """Changes with each deletion, and with each run of the scheduler."""
        return f"{epoch}.{self.deletions}"

    def deletion_barred(self, version: DataVersionRecord, user: UserName, at: UnixTime) -> str:
        """Why a user may not begin or renew a deletion now; empty = it may."""
        own = self.deleting.get((version.name, version.number))
        if own is not None and at < own.until:
            return ""
        free_at_s = self.pauses.get(user, 0.0)
        for (name, number), deletion in self.deleting.items():
            if deletion.user == user and at < deletion.until:
                other = version_text(name, number)
                return f"{user} deletes {other}: one at a time (wattline data rm {other})"
            if deletion.user == user:  # its client has gone
                free_at_s = max(free_at_s, deletion.paused_until(deletion.until))
        took = "a deletion bars others from adding versions, and the last one of"
        wait_s = free_at_s - at
        return f"{took} {user} took long: again in {wait_s:.0f} s" if wait_s > 0 else ""

    def begin_deletion(self, version: DataVersionRecord, user: UserName, at: UnixTime) -> None:
        """Begins or renews it."""
        self.deletions += 1
        own = self.deleting.get((version.name, version.number))
        if own is not None and at >= own.until:  # its client has gone
            self._pause(own, own.until)
            own = None
        begun = at if own is None else own.begun
        self.deleting[version.name, version.number] = Deletion(user, begun, at)

    def end_deletion(self, version: DataVersionRecord, at: UnixTime) -> None:
        """Ends it, if it has begun."""
        self.deletions += 1
        deletion = self.deleting.pop((version.name, version.number), None)
        if deletion is not None:
            self._pause(deletion, min(at, deletion.until))

    def _pause(self, deletion: Deletion, end_s: float) -> None:
        before_s = self.pauses.get(deletion.user, 0.0)
        self.pauses[deletion.user] = max(before_s, deletion.paused_until(end_s))

    def deleted_now(self, store: str, at: UnixTime) -> Iterator[str]:
        """Versions whose bytes are being deleted from a store."""
        for (name, number), deletion in self.deleting.items():
            if self.sets[name].store == store and at < deletion.until:
                yield version_text(name, number)

    def mark(self, store: str, epoch: Epoch, at: UnixTime) -> str:
        """`as_of`; empty while objects are being deleted from a store."""
        is_busy = any(True for _ in self.deleted_now(store, at))
        return "" if is_busy else self.as_of(epoch)

    def keeps_bytes(self, version: DataVersionRecord) -> bool:
        """Whether another version with the same content lies in the same store."""
        store = self.sets[version.name].store
        return any(
            one.sha256 == version.sha256 and one.state != "removed"
            for name, of_set in self.versions.items()
            if self.sets[name].store == store
            for one in of_set.values()
        )


def expires_unix_s(record: DataSetRecord, version: DataVersionRecord) -> UnixTime | None:
    """When the retention of a version ends; None = never."""
    if not record.retention_s:
        return None
    return UnixTime(version.created_unix_s + record.retention_s)


def chars_of(origins: Iterable[Origin]) -> int:
    """Size of what a version was made from."""
    return sum(len(one.name) + len(one.detail) for one in origins)


def recipe_bytes(recipe: JobSpec | None) -> int:
    """Size of a recipe; 0 = there is none."""
    return 0 if recipe is None else encoded_bytes(recipe)


def _property_chars(record: DataSetRecord) -> int:
    words = (record.readers, record.reviewers, record.contains, record.aliases)
    return len(record.store) + sum(len(word) for some in words for word in some)


def may_read(record: DataSetRecord, user: UserName, *, is_operator: bool) -> bool:
    """Whether a user may see a set and read it in a job."""
    is_open = not record.readers
    return is_operator or is_open or user in (record.owner, *record.readers, *record.reviewers)
