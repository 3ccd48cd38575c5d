"""Selection of jobs for a request: numbers, ranges, indices of arrays, and filters.

`3-5,8`, `last`, `12[0-31]` or `12.7` (indices as in the job's `--array`; replicas of a service are
numbered from 0). Filters narrow the numbered jobs; without numbers they select among all jobs that
have not ended, or among those in the states they name.
"""

import re
from datetime import UTC
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from wattline_protocol.ids import JobId
from wattline_protocol.lists.job_table import jobs_where, names_ended
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.lists.where import MAX_CHARS, Where
from wattline_protocol.views.site_views import ENDED_STATES, JobState, JobView
from wattline_protocol.wire.bounds import PLAIN, Count, Few, Many, Name, Serial

NEWEST = JobId(0)
"""Represents the newest job of the requesting user."""

LAST = "last"

MAX_SELECTED = 10_000
"""Jobs selected by number in one request; more is surely a typing error."""

MAX_SPANS = 10_000
"""Ranges in one request, of jobs or of indices: as many as an array may have indices."""

MAX_JOBS_CHARS = 256 * 1024
"""Length of the text that selects them."""

MAX_WORDS = 100
MAX_WORD_CHARS = 128
"""Values of one filter, and the length of each."""

HOW = "write for example 8, 3-5,8, 12[0-31], 12.7 or last"

_NAME = re.compile(r"(?!last)[a-z][a-z0-9._-]{0,63}", re.ASCII | re.IGNORECASE)
_PART = re.compile(  # as long as numbers become after recoveries
    r"(?P<first>\d{1,15}|last)"
    r"(?:-(?P<last>\d{1,15})|\.(?P<one>\d{1,8}(?:-\d{1,8})?)|\[(?P<many>[\d,\-]+)\])?",
    re.ASCII,
)
_RANGE = re.compile(r"(\d{1,8})(?:-(\d{1,8}))?", re.ASCII)
_PARTS = re.compile(r"(?:\[[^\]]*\]?|[^,\[])+|(?<=,)(?=,|\Z)|\A(?=,|\Z)")
"""Text between commas, except those in brackets."""


class Span(msgspec.Struct, frozen=True):
    """Jobs `first` to `last`, inclusive; of a single one optionally only some indices."""

    first: Serial[JobId]
    last: Serial[JobId]
    indices: Many[tuple[Count[int], Count[int]]] = ()
    """From, to, inclusive; empty = the whole job."""


class Selection(msgspec.Struct, frozen=True):
    """The selected jobs. At least one field is set."""

    jobs: Many[Span] = ()
    users: Few[Name[str]] = ()
    accounts: Few[Name[str]] = ()
    queues: Few[Name[str]] = ()
    names: Few[Name[str]] = ()
    """Patterns with `*`, `?` and `[abc]`."""
    states: Few[JobState] = ()
    """State of the job; of an array, of each index by itself."""
    where: Annotated[str, msgspec.Meta(max_length=MAX_CHARS, pattern=PLAIN)] = ""
    """A condition on whole jobs (`lists.where`), whose times are absolute; empty = none."""

    @property
    def is_filtered(self) -> bool:
        """Whether any filter is set."""
        words = self.users or self.accounts or self.queues or self.names or self.states
        return bool(words or self.where)

    @property
    def is_slow(self) -> bool:
        """Whether it takes time to find what it selects."""
        return bool(self.names or self.where)

    @property
    def single(self) -> Span | None:
        """The one job selected by number, if nothing else is set."""
        is_one = len(self.jobs) == 1 and not self.is_filtered
        return self.jobs[0] if is_one and self.jobs[0].first == self.jobs[0].last else None

    def condition(self, now_unix_s: float = 0.0) -> Where[JobView] | None:
        """What `where` says of a job as of that time; None = all match. Raises ValueError."""
        return jobs_where(self.where, Reading(now_unix_s, UTC)) if self.where else None

    @property
    def names_ended(self) -> bool:
        """Whether it names a state in which a job has ended: then such jobs are meant, too. Raises
        ValueError."""
        where = self.condition()
        return bool(ENDED_STATES & set(self.states)) or (where is not None and names_ended(where))

    def matches_name(self, name: str) -> bool:
        """Whether a job of this name may be selected."""
        return not self.names or any(fnmatchcase(name, pattern) for pattern in self.names)


def only(job: JobId, *indices: int) -> Selection:
    """One job, or some indices of it."""
    return Selection((Span(job, job, tuple((index, index) for index in indices)),))


def parse_jobs(text: str) -> tuple[Span, ...]:
    """`3-5,8,12[0-31]` as spans. Raises ValueError with a valid form."""
    if len(text) > MAX_JOBS_CHARS:
        raise ValueError(
            f"the list of jobs has {len(text)} characters; the maximum is {MAX_JOBS_CHARS}"
        )
    spans = tuple(_span(part.strip(), text) for part in _PARTS.findall(text))
    wrong = problem(Selection(spans))
    if wrong:
        raise ValueError(f"{text}: {wrong}")
    return spans


def _span(part: str, text: str) -> Span:
    match = _PART.fullmatch(part)
    if match is None or (match["first"] == LAST and match["last"]):
        by_name = f"; `wattline jobs --name {text}` lists numbers" if _NAME.fullmatch(text) else ""
        raise ValueError(f"{text!r} is not a list of jobs; {HOW}{by_name}")
    first = NEWEST if match["first"] == LAST else JobId(int(match["first"]))
    if first == NEWEST and match["first"] != LAST:
        raise ValueError(f"{part}: jobs are numbered from 1")
    last = JobId(int(match["last"] or first))
    if last < first:
        raise ValueError(f"{part}: the range runs backwards; write {last}-{first}")
    listed = match["one"] or match["many"] or ""
    return Span(first, last, tuple(_indices(one, part) for one in listed.split(",") if listed))


def _indices(text: str, part: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{part}: {text!r} is not an index; write for example 12[0-31,40]")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"{part}: the range runs backwards; write {last}-{first}")
    return first, last


def _is_sound(span: Span) -> bool:
    return NEWEST <= span.first <= span.last and (not span.indices or span.first == span.last)


def problem(selection: Selection) -> str:
    """What is wrong with it, and what would be valid; empty = nothing."""
    if not selection.jobs and not selection.is_filtered:
        return f"specify jobs: {HOW}, or filter by user, account, queue, name, state, where"
    words = (selection.users, selection.accounts, selection.queues, selection.names)
    if any(len(some) > MAX_WORDS for some in (*words, selection.states)):
        return f"at most {MAX_WORDS} values for one filter"
    if any(len(word) > MAX_WORD_CHARS for some in words for word in some):
        return f"a filter's value has at most {MAX_WORD_CHARS} characters"
    try:
        selection.condition()
    except ValueError as error:
        return f"where: {error}"
    if len(selection.jobs) + sum(len(span.indices) for span in selection.jobs) > MAX_SPANS:
        return f"at most {MAX_SPANS} ranges at a time"
    if not all(map(_is_sound, selection.jobs)):
        return f"a range runs backwards, or has indices of more than one job; {HOW}"
    if sum(span.last - span.first + 1 for span in selection.jobs) > MAX_SELECTED:
        return f"at most {MAX_SELECTED} jobs by number at a time"
    return ""
