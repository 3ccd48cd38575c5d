"""Every key of the job file and the site file stands in its page."""

import re
from pathlib import Path

import pytest

from wattline_protocol.job.file import parse_job
from wattline_protocol.job.keys import BY_NAME, JOB_KEYS, OPTION_ALIASES, JobKey
from wattline_protocol.routing.file import parse_routes
from wattline_protocol.site.file import SiteFileError, parse_site

DOCS = Path(__file__).parents[2] / "docs"
JOB_PAGE = (DOCS / "job-file.md").read_text(encoding="utf-8")
SITE_PAGE = "\n".join(
    (DOCS / page).read_text(encoding="utf-8")
    for page in ("site-file.md", "api-keys.md", "containers.md", "data-sets.md", "notifications.md")
)
"""With the pages that have the tables [abuse], [containers], [data] and [notify]."""
ROUTE_PAGE = (DOCS / "routing.md").read_text(encoding="utf-8")
ARRAYS = (
    "power_domain",
    "cooling_zone",
    "node",
    "gateway",
    "schedule",
    "webhook",
    "account",
    "queue",
    "service",
)
SITE_TABLES = (
    *(
        "site",
        "timing",
        "tariff",
        "run_as",
        "tasks",
        "containers",
        "data",
        "fair_share",
        "weights",
        "http",
        "out_of_band",
        "abuse",
        "notify",
    ),
    *ARRAYS,
)


@pytest.mark.parametrize("key", JOB_KEYS, ids=lambda key: key.path)
def test_every_key_of_the_job_file(key: JobKey) -> None:
    row = f"| `{key.path}` | `{key.example}` | {key.meaning}"
    assert row in JOB_PAGE


def test_the_job_page_names_no_key_that_does_not_exist() -> None:
    for path in re.findall(r"^\| `([a-z_.]+)` \|", JOB_PAGE, re.MULTILINE):
        assert path in {key.path for key in JOB_KEYS}


def test_short_forms_are_documented_and_mean_a_key() -> None:
    for alias, name in OPTION_ALIASES.items():
        assert name in BY_NAME
        assert f"`{alias}`" in JOB_PAGE


def test_the_example_of_the_job_page_is_a_job() -> None:
    assert parse_job(_example(JOB_PAGE), "job-file.md").name == "resnet"


@pytest.mark.parametrize("table", SITE_TABLES)
def test_every_key_of_the_site_file(table: str) -> None:
    title = f"[[{table}]]" if table in ARRAYS else f"[{table}]"
    section = SITE_PAGE.split(f"## `{title}`\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))
    known = {key.removesuffix("_w") for key in _known_keys(title)}
    assert documented == known


def test_every_key_of_a_route() -> None:
    of_route, of_rule = ROUTE_PAGE.split("| key of `[[route]]`")[1].split(
        "| key of `[[route.rule]]`"
    )
    assert _named(of_route) == set(_known_keys("[[route]]"))
    assert _named(of_rule.split("\n\n")[0]) == set(_known_keys("[[route]]\n[[route.rule]]"))


def _named(table: str) -> set[str]:
    """The keys in the first column."""
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`([a-z_]+)`", cell)}


def test_the_example_of_the_routing_page_is_a_route() -> None:
    assert parse_routes(_example(ROUTE_PAGE), "routing.md")[0].name == "digits"


def test_every_key_of_an_input() -> None:
    section = SITE_PAGE.split("## Redundant inputs with shares\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))
    with pytest.raises(SiteFileError) as caught:
        parse_site('[[node]]\ninputs = [{ domain = "a", qqqqqqqq = 1 }]\n', "site.toml")
    reported = next(p for p in caught.value.problems if "known are" in p)
    assert documented == set(re.findall(r"[a-z_]+", reported.partition("known are ")[2])) - {"and"}


def test_every_key_of_a_meter() -> None:
    section = SITE_PAGE.split("## `[power_domain.meter]`\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))
    known = {k.removesuffix("_w") for k in _known_keys("[[power_domain]]\n[power_domain.meter]")}
    assert documented == known


def test_a_node_has_the_out_of_band_keys_of_the_site() -> None:
    assert _known_keys("[[node]]\n[node.out_of_band]") == _known_keys("[out_of_band]")


def test_every_key_of_a_sensor() -> None:
    title = "## `[cooling_zone.units_sensor]`, `[cooling_zone.outside_sensor]`\n"
    section = SITE_PAGE.split(title)[1].split("\n## ")[0]
    for table in ("units_sensor", "outside_sensor"):
        known = _known_keys(f"[[cooling_zone]]\n[cooling_zone.{table}]")
        assert all(f"`{key}`" in section for key in known)


def _known_keys(title: str) -> list[str]:
    """The keys that the parser itself names when it meets one that it does not know."""
    with pytest.raises(SiteFileError) as caught:
        parse_site(f"{title}\nqqqqqqqq = 1\n", "site.toml")
    reported = next(p for p in caught.value.problems if "qqqqqqqq" in p)
    return reported.partition("keys here are ")[2].split(", ")


def test_every_table_of_the_site_file() -> None:
    with pytest.raises(SiteFileError) as caught:
        parse_site("qqqqqqqq = 1\n", "site.toml")
    reported = next(p for p in caught.value.problems if "qqqqqqqq" in p)
    assert set(reported.partition("keys here are ")[2].split(", ")) == {
        *SITE_TABLES,
        "roles",
        "route",
    }
    assert "## `[roles]`" in SITE_PAGE


def test_the_example_of_the_site_page_is_a_site() -> None:
    assert len(parse_site(_example(SITE_PAGE), "site-file.md").nodes) == 3


def _example(page: str) -> str:
    return page.split("```toml\n")[1].split("```")[0]
