"""Schedules, webhooks and the HTTP door in the site file."""

import pytest

from wattline_protocol.site.checks import site_warnings
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.text import format_site

HEAD = """
[run_as]
others = "same"
[site]
name = "lab"
agent_endpoint = "tcp://10.0.0.5:7701"
client_endpoint = "tcp://10.0.0.5:7702"
time_zone = "Europe/Berlin"
logs = "everyone"
[[power_domain]]
name = "feed-a"
rating = "100kW"
fixed_load = "10kW"
[[cooling_zone]]
name = "room"
capacity = "90kW"
"""
WHOLE = """
[[schedule]]
domain = "feed-a"
when = ["Mon-Fri 16:00-20:00"]
limit = "80%"
ramp = "5m"
release = "10m"
reason = "peak tariff"
[[schedule]]
domain = "room"
when = "Sat-Sun"
limit = "40kW"
[[webhook]]
url = "https://ops.example.org/wattline"
events = ["budget_*", "over_budget"]
secret_file = "/etc/wattline/hook.secret"
[http]
listen = "127.0.0.1:7780"
token_file = "/etc/wattline/grid.token"
caller = "aggregator"
"""


def test_limits_are_shares_of_the_budget_or_watts() -> None:
    site = parse_site(HEAD + WHOLE, "site.toml")
    peak, weekend = site.schedules
    assert (peak.domain, peak.limit_mw, peak.ramp_s, peak.release_s) == (
        "feed-a",
        64_000_000,
        300.0,
        600.0,
    )
    assert (weekend.domain, weekend.limit_mw, weekend.when) == ("room", 40_000_000, ("Sat-Sun",))
    assert site.time_zone == "Europe/Berlin"
    assert site.logs == "everyone"
    assert site_warnings(site) == ("feed-a has no node", "room has no node")


def test_what_is_written_is_read_back() -> None:
    site = parse_site(HEAD + WHOLE, "site.toml")
    assert parse_site(format_site(site), "again") == site


SCHEDULE = '[[schedule]]\ndomain = "feed-a"\nwhen = ["Mon 16:00-20:00"]\nlimit = "80%"\n'
HOOK = '[[webhook]]\nurl = "http://h/x"\nevents = ["*"]\nsecret_file = "/s"\n'
HTTP = '[http]\nlisten = "127.0.0.1:7780"\ntoken_file = "/t"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SCHEDULE.replace("feed-a", "feed-b"), "no domain named feed-b; the nearest is feed-a"),
        (SCHEDULE.replace("80%", "100%"), "less than 100 %"),
        (SCHEDULE.replace("80%", "0W"), "above zero"),
        (SCHEDULE.replace("80%", "80kW"), "80kW has no effect: the budget of feed-a is 80kW"),
        (SCHEDULE.replace("80%", "most"), 'expected what remains, as in "80%"'),
        (SCHEDULE.replace("20:00", "16:00"), "never opens"),
        (SCHEDULE.replace("Mon 16:00-20:00", "Mon-Sun"), "never close"),
        (SCHEDULE + 'ramp = "5h"', "longer than the shortest window"),
        (SCHEDULE + 'ramp = "-1m"', "expected a duration"),
        (SCHEDULE + "shed = 1", "unknown key schedule.shed"),
        ("[[schedule]]\ndomain = 'feed-a'", "when is missing in [[schedule]]"),
        ("[[schedule]]\ndomain = 'feed-a'", "limit is missing in [[schedule]]"),
        (SCHEDULE * 41, "41 schedules, at most 40"),
        (HOOK.replace("http://h", "ftp://h"), "expected a URL such as"),
        (HOOK.replace("http://h", "http://u:p@h"), "without password"),
        (HOOK.replace('"*"', '"Budget shed"'), "expected kinds of events"),
        (HOOK.replace('"/s"', '"s"'), "expected an absolute path"),
        (HOOK * 21, "21 webhooks, at most 20"),
        (HOOK * 2, "http://h/x has a webhook already"),
        (HTTP.replace(":7780", ""), "expected HOST:PORT"),
        ('[http]\nlisten = "127.0.0.1:7780"', "token_file is missing in [http]"),
    ],
)
def test_mistakes_are_told_with_what_is_right(text: str, words: str) -> None:
    with pytest.raises(SiteFileError) as caught:
        parse_site(HEAD + text, "site.toml")
    assert words in str(caught.value)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(SiteFileError, match="expected a time zone such as"):
        parse_site(HEAD.replace("Europe/Berlin", "Berlin"), "site.toml")


def test_warnings_tell_what_is_probably_not_meant() -> None:
    low = SCHEDULE.replace("80%", "10kW")
    site = parse_site(HEAD + low + HTTP.replace("127.0.0.1", "0.0.0.0"), "site.toml")
    said = "\n".join(site_warnings(site))
    assert "nothing can run there: 10kW are reserved" in said
    assert "without encryption" in said
