"""Job files of `kind = "route"`: what is accepted, and the words for what is not."""

import pytest

from support.strategies.route_files import FULL_ROUTE
from wattline_protocol.routing.file import (
    MAX_FILE_CHARS,
    RouteFileError,
    format_route,
    parse_routes,
)
from wattline_protocol.routing.model import MAX_ROUTE_BYTES, PublicRoute, RouteRule, RouteTarget
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.text import format_site


def rules(*texts: str, more: str = 'to = "rest"') -> str:
    table = "".join(f"[[route.rule]]\n{text}\n" for text in texts)
    return f'kind = "route"\n[[route]]\nname = "r"\n{more}\n{table}'


def problems(text: str) -> list[str]:
    with pytest.raises(RouteFileError) as raised:
        parse_routes(text, "r.toml")
    return [line.removeprefix("r.toml:") for line in raised.value.problems]


def test_a_route_reads_back_as_it_was_written() -> None:
    [route] = parse_routes(FULL_ROUTE, "r.toml")
    assert route == PublicRoute(
        "digits",
        (
            RouteRule(
                RouteTarget(("large",)),
                max_inputs=4,
                max_body_bytes=64 * 1024,
                tiers=("gold",),
            ),
            RouteRule(
                RouteTarget(("small", "large"), 0.8, "scores.0"),
                min_inputs=9,
                min_body_bytes=64 * 1024,
                headers={"x-team": ("a", "b")},
                fields={"input.mode": ('"fast"', "1", "true")},
            ),
            RouteRule(RouteTarget(("canary",)), share_permille=50),
        ),
        RouteTarget(("small",)),
        "x-user",
    )
    assert parse_routes(format_route(route), "again") == (route,)
    assert route.services == ("large", "small", "canary")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rules('to = "a"'), "4: the rules match every request: omit what is for the rest"),
        (
            rules('min_inputs = 2\nto = "a"', 'min_inputs = 3\nto = "b"'),
            "8: no request can reach rule 2: rule 1 matches all of its requests",
        ),
        (
            rules(
                'max_inputs = 2\nto = "a"',
                'min_inputs = 3\nto = "b"',
                'share = 0.1\nto = "c"',
                more="",
            ),
            "11: no request can reach rule 3: the rules before it match all of its requests",
        ),
        (
            rules('max_inputs = 2\nto = "a"', more=""),
            '2: no rule matches a request of 3 inputs, 0B: add what answers the rest, as in to = "',
        ),
        (
            rules('share = 0.6\nto = "a"', 'share = 0.6\nto = "b"'),
            "5: the shares of a route add up to 1.2; 1 is the maximum",
        ),
        (
            rules('header = { x-a = ["1", "1"] }\nto = "a"'),
            'route.rule.header = { x-a = ["1", "1"] }: x-a: 1 is given twice',
        ),
        (rules('header = { x-a = "é" }\nto = "a"'), "expected printable ASCII"),
        (rules('header = { Api-Key = "wl_1" }\nto = "a"'), "api-key carries a secret"),
        (rules('field = { "a" = 1, "a.b" = 1 }\nto = "a"'), "a is a value, so that it has no a.b"),
        (rules("field = { a.b = 1 }\nto = 'a'"), "a: write the whole path in quotes"),
        (rules('field = { "a" = "\\u202e" }\nto = "a"'), "text without control characters"),
        (rules('field = { "a\\u001b" = "x" }\nto = "a"'), "text without control characters"),
        (rules('field = { "a" = 1.5 }\nto = "a"'), "expected texts of up to 254 characters"),
        (rules('min_inputs = 3\nmax_inputs = 2\nto = "a"'), "min_inputs exceeds max_inputs"),
        (rules("min_inputs = 3"), 'a rule needs a service, as in to = "small"'),
        (rules('share = 0.0001\nto = "a"'), "expected whole thousandths; the nearest is 0.001"),
        (rules('to = "r"'), "r: a route leads to services, not to itself"),
        (rules('to = "a/b"'), '"a/b" is not a valid name'),
        (rules(more='cascade = ["a", "b"]'), "a cascade needs a limit above 0"),
        (rules(more='cascade = ["a", "a"]\nlimit = 0.5'), "each name may occur once"),
        (rules(more='to = "a"\nlimit = 0.5'), "limit and confidence are of a cascade"),
        (rules(more='to = "a"\nsticky = "x-user"'), "sticky is for rules with a share"),
        (
            rules(
                'share = 0.5\nto = "a"',
                'header = { x-user = "1" }\nto = "b"',
                more='to = "c"\nsticky = "x-user"',
            ),
            "10: x-user decides the shares: a rule that names its values goes first",
        ),
        (rules('minimum = 1\nto = "a"'), "unknown key route.rule.minimum"),
        ('kind = "route"', "0 tables [[route]]; 1 to 8 are accepted"),
        (
            FULL_ROUTE + FULL_ROUTE.replace('kind = "route"', ""),
            "a route named digits exists already",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, said: str) -> None:
    found = problems(text)
    assert any(said in line for line in found), found
    assert len(found) == 1


def test_a_route_is_bounded() -> None:
    many = ", ".join(f'"{"x" * 200}{n}"' for n in range(60))
    text = rules(*(f'header = {{ x-{n} = [{many}] }}\nto = "a"' for n in range(3)))
    assert problems(text)[0].endswith(f"at most {MAX_ROUTE_BYTES // 1024}KiB")


# --- the site file

SITE = """
[site]
name = "lab"
agent_endpoint = "tcp://10.0.0.5:7701"
client_endpoint = "tcp://10.0.0.5:7702"
[[power_domain]]
name = "feed"
rating = "100kW"
[[service]]
name = "small"
users = ["ada"]
"""


def in_site(text: str) -> str:
    return SITE + text.replace('kind = "route"\n', "")


def test_a_route_of_the_site_file_reads_back_as_it_was_written() -> None:
    users = 'users = ["ada", "bob"]\nto = "small"'
    site = parse_site(in_site(FULL_ROUTE.replace('to = "small"', users, 1)), "site.toml")
    [one] = site.routes
    assert (one.route, one.users) == (parse_routes(FULL_ROUTE, "")[0], ("ada", "bob"))
    assert parse_site(format_site(site), "again").routes == site.routes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rules() + rules(), "a route named r exists already"),
        (rules(more='to = "x"').replace('"r"', '"small"'), "small is a service ([[service]])"),
        (
            rules() + rules(more='to = "r"').replace('"r"', '"s"', 1),
            "r is a route, and a route leads to services",
        ),
        (rules('to = "b"'), "the rules match every request: omit what is for the rest"),
    ],
)
def test_what_is_wrong_in_a_site_file_is_named(text: str, said: str) -> None:
    with pytest.raises(SiteFileError) as raised:
        parse_site(in_site(text), "site.toml")
    assert [said in line for line in raised.value.problems] == [True], raised.value.problems


def test_a_file_that_no_routes_can_fill_is_not_read() -> None:
    with pytest.raises(RouteFileError, match=r"^r\.toml: has 262145B, at most 256KiB; split it"):
        parse_routes("#" * (MAX_FILE_CHARS + 1), "r.toml")
