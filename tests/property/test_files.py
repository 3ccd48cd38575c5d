"""Job and site files are read back as written; any other text is refused in words."""

import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.strategies.jobs import jobs
from support.strategies.power import sites
from wattline_protocol.job.file import JobFileError, format_job, job_problems, parse_job
from wattline_protocol.job.sent_keys import sent_keys
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.model import Site
from wattline_protocol.site.text import format_site, site_template
from wattline_protocol.text import quantities as q
from wattline_protocol.text.toml import KeyPath, document_text, key_lines

TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
SCALARS = st.booleans() | st.integers(-(2**40), 2**40) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, max_size=5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(job=jobs())
def test_a_job_is_read_back(job: JobSpec) -> None:
    assert parse_job(format_job(job), "job.toml") == job
    assert job_problems(job) == ()
    sent = msgspec.msgpack.encode(sent_keys(job))
    assert msgspec.msgpack.decode(sent, type=JobSpec) == job


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(site=sites())
def test_a_site_is_read_back(site: Site) -> None:
    # Random reserves may take up a random budget, which is refused; a larger rating fits them.
    roomy = [msgspec.structs.replace(d, rating_mw=d.rating_mw + 10**7) for d in site.domains]
    site = msgspec.structs.replace(site, domains=tuple(roomy))
    assert parse_site(format_site(site), "site.toml") == site


@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True))
def test_the_template_takes_any_name(name: str) -> None:
    text = site_template(name, "tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
    assert parse_site(text, "x").name == name


@given(document=DOCUMENTS)
def test_a_document_is_read_back(document: dict[str, Any]) -> None:
    assert tomllib.loads(document_text(document)) == document


@given(document=DOCUMENTS)
def test_every_key_has_a_line(document: dict[str, Any]) -> None:
    text = document_text(document)
    lines = key_lines(text)
    assert set(_paths(tomllib.loads(text))) <= set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def _paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    below = [found for key, item in items for found in _paths(item, (*path, key))]
    return [*([path] if path else []), *below]


@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    _only_refusals(text)


@given(document=DOCUMENTS, at=st.sampled_from(["", "site", "resources", "launch"]))
def test_any_document_is_read_or_refused_in_words(document: dict[str, Any], at: str) -> None:
    _only_refusals(document_text({at: document} if at else document))


_JOB_KEYS = ["command", "array", "env", "priority", "resources", "windows", "secrets", "launch"]
_SITE_KEYS = ["site", "roles", "node", "power_domain", "cooling_zone", "timing", "gateway"]


@given(document=st.dictionaries(st.sampled_from(_JOB_KEYS + _SITE_KEYS), VALUES, max_size=4))
def test_known_keys_with_any_value_are_read_or_refused(document: dict[str, Any]) -> None:
    _only_refusals(document_text(document))


def _only_refusals(text: str) -> None:
    """Both parsers read it or name the file in each problem; anything else fails the test."""
    assert all(problem.startswith("file.toml:") for problem in _job_problems(text))
    assert all(problem.startswith("file.toml:") for problem in _site_problems(text))


def _job_problems(text: str) -> tuple[str, ...]:
    try:
        parse_job(text, "file.toml")
    except JobFileError as refusal:
        return refusal.problems
    return ()


def _site_problems(text: str) -> tuple[str, ...]:
    try:
        parse_site(text, "file.toml")
    except SiteFileError as refusal:
        return refusal.problems
    return ()


@given(milliseconds=st.integers(0, int(q.MAX_DURATION_S) * 1000))
def test_durations_are_exact(milliseconds: int) -> None:
    duration_s = milliseconds / 1000
    assert q.parse_duration_s(q.format_duration(duration_s)) == duration_s


@given(size=st.integers(0, q.MAX_SIZE_BYTES))
def test_sizes_are_exact(size: int) -> None:
    assert q.parse_size_bytes(q.format_size(size)) == size


@given(power_mw=st.integers(0, q.MAX_POWER_MW))
def test_watts_are_exact(power_mw: int) -> None:
    assert q.parse_power_mw(q.format_power(power_mw)) == power_mw


@given(text=st.text(max_size=20))
@pytest.mark.parametrize(
    "parse",
    [
        q.parse_duration_s,
        q.parse_size_bytes,
        q.parse_power_mw,
        q.parse_percent,
        q.parse_energy_wh,
        q.parse_cost_usd,
    ],
)
def test_any_text_is_a_quantity_or_told(parse: Any, text: str) -> None:
    try:
        got = parse(text)
    except ValueError as error:
        got = len(str(error))
    assert got >= 0
