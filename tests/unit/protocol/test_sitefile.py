"""Site files: what is read, what is worked out, and how each mistake is reported."""

import msgspec
import pytest

from fuzz.samples import SITE
from wattline_protocol.ids import DomainId
from wattline_protocol.site.checks import largest_jump_mw, site_warnings
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.model import (
    FairShare,
    Gateway,
    InputShare,
    RunAs,
    Service,
    Site,
    Weights,
)
from wattline_protocol.site.text import format_site, site_template

HEAD = """\
[site]
name = "lab"
agent_endpoint = "tcp://10.0.0.5:7701"
client_endpoint = "tcp://10.0.0.5:7702"
"""

FULL = SITE.decode()


@pytest.fixture(scope="module")
def full() -> Site:
    return parse_site(FULL, "site.toml")


def refused(text: str) -> tuple[str, ...]:
    with pytest.raises(SiteFileError) as caught:
        parse_site(text, "site.toml")
    return caught.value.problems


def test_the_head_and_the_small_tables(full: Site) -> None:
    assert (full.name, full.checkpoint_root) == ("lab", "/mnt/checkpoints")
    assert full.timing.task_lease_s == 600
    assert full.timing.isolation == "floor"
    assert full.tariff.usd_per_gpu_hour == 2
    assert full.gateways == (Gateway("gw", "tcp://10.0.0.5:7703", "127.0.0.1:8080"),)
    assert full.roles == {"alice": "operator"}


def test_domains_and_their_budgets(full: Site) -> None:
    feed, pdu, room = full.domains
    assert (feed.budget_mw, pdu.budget_mw, room.budget_mw) == (80_000_000, 45_000_000, 90_000_000)
    assert (pdu.parent, room.kind, room.derate_permille) == ("feed-a", "cooling", 1000)
    assert (feed.fixed_load_mw, feed.transient_margin_mw) == (1_000_000, 2_000_000)


def test_one_block_stands_for_many_nodes(full: Site) -> None:
    assert [node.id for node in full.nodes] == ["gpu-01", "gpu-02", "gpu-03", "gpu-10", "lone"]
    assert full.nodes[0].inputs == ("pdu-a1",)
    lone = full.nodes[-1]
    assert (lone.is_off, lone.cooling_zone, lone.nameplate_mw) == (True, None, 12_000_500)
    assert lone.psu_efficiency_permille == 940
    assert lone.inputs == ("feed-a", "pdu-a1")


def test_a_reserve_that_is_not_given_is_the_largest_jump_of_one_node(full: Site) -> None:
    feed, pdu, room = full.domains
    assert largest_jump_mw([full.nodes[0]]) == (10_000_000 - 2_000_000) * 3 // 10
    assert feed.foreign_reserve_mw == largest_jump_mw(list(full.nodes))
    assert feed.foreign_reserve_mw > 2_400_000
    assert pdu.foreign_reserve_mw == 0  # said so
    assert room.foreign_reserve_mw == 2_400_000  # the lone node is not in the room


def test_a_site_is_written_and_read_back(full: Site) -> None:
    assert parse_site(format_site(full), "again") == full


def test_the_template_is_valid_and_so_are_its_examples() -> None:
    text = site_template("lab", "tcp://127.0.0.1:7701", "tcp://127.0.0.1:7702")
    site = parse_site(text, "site.toml")
    assert (site.name, site.nodes) == ("lab", ())
    active = "\n".join(_uncommented(line) for line in text.splitlines())
    site = parse_site(active, "site.toml")
    assert len(site.nodes) == 4
    assert (len(site.domains), len(site.gateways), site.roles) == (3, 1, {"alice": "operator"})


def _uncommented(line: str) -> str:
    is_example = line.startswith("# ") and ("=" in line or line.startswith("# ["))
    return line[2:] if is_example else line


def test_warnings_tell_of_what_is_probably_not_meant(full: Site) -> None:
    assert site_warnings(msgspec.structs.replace(full, run_as=RunAs(others="same"))) == ()
    text = HEAD + (
        '[[power_domain]]\nname = "top"\nrating = "10kW"\nforeign_reserve = "0W"\n'
        '[[power_domain]]\nname = "low"\nparent = "top"\nrating = "20kW"\n'
        '[[node]]\nname = "n"\nrack = "r"\ninputs = ["top"]\n'
        'nameplate = "9kW"\nnon_gpu_worst = "1kW"\n'
    )
    warnings = site_warnings(parse_site(text, "x"))
    assert any("low has no node" in w for w in warnings)
    assert any("low has a larger budget (16kW) than top above it (8000W)" in w for w in warnings)
    assert any("n alone may draw more (9000W) than the budget of top" in w for w in warnings)


def test_all_nodes_of_a_block_have_its_labels() -> None:
    nodes = parse_site(FULL, "x").nodes
    assert [node.labels for node in nodes] == [{"fabric": "ib"}] * 4 + [{}]


def test_redundant_inputs_count_a_node_in_every_domain_above() -> None:
    site = parse_site(FULL, "x")
    assert set(site.domains_of(site.nodes[-1])) == {DomainId("feed-a"), DomainId("pdu-a1")}


SHARED = """
[[power_domain]]
name = "feed-b"
rating = "100kW"
[[node]]
name = "dual"
rack = "r3"
inputs = [
  { domain = "pdu-a1", share = 0.5, when_lost = { "feed-b" = 1.0 } },
  { domain = "feed-b", share = 0.6, when_lost = { "pdu-a1" = 0.9, "feed-a" = 1.0 } },
]
nameplate = "10kW"
non_gpu_worst = "1kW"
"""


def test_redundant_inputs_may_state_shares() -> None:
    site = parse_site(FULL + SHARED.replace("0.9", "1.0"), "x")
    dual = site.nodes[-1]
    assert dual.inputs == ("pdu-a1", "feed-b")
    assert dual.shares == (
        InputShare(500, {DomainId("feed-b"): 1000}),
        InputShare(600, {DomainId("pdu-a1"): 1000, DomainId("feed-a"): 1000}),
    )
    assert parse_site(format_site(site), "again") == site
    assert parse_site(FULL, "x").nodes[0].shares == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", "when pdu-a1 is lost the shares of the other inputs add up to less than 1"),
        ("share = 0.6", "share = 0.4", "the shares add up to less than 1"),
        ('"feed-b" = 1.0', '"feed-a" = 1.0', "pdu-a1 cannot take over when feed-a is lost"),
        ('"feed-b" = 1.0', '"feed-b" = 0.4', "pdu-a1 carries less when feed-b is lost than before"),
        ('"feed-b" = 1.0', '"feed-x" = 1.0', "there is no power domain named feed-x"),
        ('"feed-b" = 1.0', '"room" = 1.0', "expected a power domain"),
        ('{ "feed-b" = 1.0 }', "1.0", "expected when_lost as a table"),
        ('"feed-b" = 1.0', '"feed-b" = 7', "expected a number from 0 to 1"),
    ],
)
def test_shares_that_cannot_be_are_refused_with_the_reason(old: str, new: str, said: str) -> None:
    problems = refused(FULL + SHARED.replace(old, new, 1))
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "lab"\n', "", "site.toml:1: name is missing in [site]"),
        ('"tcp://10.0.0.5:7701"', '"tcp://*:7701"', "site.toml:3: site.agent_endpoint"),
        ('"tcp://10.0.0.5:7701"', '"10.0.0.5:7701"', 'expected "tcp://HOST:PORT"'),
        ('"tcp://10.0.0.5:7701"', '"tcp://10.0.0.5:0"', "others connect to"),
        (":7701", ":7702", "site.toml:4: agents and clients must have different endpoints"),
        ('"/mnt/checkpoints"', '"mnt"', "expected an absolute path"),
        (
            "client_endpoint",
            "open_jobs_per_user = 0\nclient_endpoint",
            "number from 1 to 1000000000",
        ),
        ("client_endpoint", 'logs = "all"\nclient_endpoint', "expected one of owner, everyone"),
        ("beat_period", "beat_perod", "unknown key timing.beat_perod; the nearest is beat_period"),
        ('"2s"', '"2h"', "expected from 0.1s to 1m"),
        ('"20s"', '"3s"', "site.toml:8: isolation_after must be at least two beat periods"),
        ('"10m"', '"10s"', "site.toml:10: task_lease must be at least isolation_after"),
        ('"3s"', '"3s"\nmax_grace = "10s"', 'max_grace = "10s": expected from 30s to 30d'),
        ('"floor"', '"flor"', 'did you mean "floor"?'),
        ("0.15", '"0.15"', "expected a number from 0 to 1000"),
        ("[[power_domain]]", "[[power_domian]]", "the nearest is power_domain"),
        ('rating = "100kW"', "", "power_domain.rating is missing, for example rating ="),
        ('"100kW"', "100", 'expected a power such as "40kW"'),
        ('"100kW"', '"0W"', "power_domain.rating must be above 0"),
        ("rating_w = 60000", 'rating_w = 60000\nrating = "60kW"', "are alternatives; keep one"),
        ("rating_w = 60000", "rating_w = 0.0001", "at most three decimals"),
        ('"75%"', "1.5", "expected a number from 0 to 1"),
        ('"75%"', "0.12345", "in steps of 0.1 %"),
        ('"75%"', "0", "above 0"),
        (
            'parent = "feed-a"',
            'parent = "feed-b"',
            "power domain named feed-b; the nearest is feed-a",
        ),
        (
            'parent = "feed-a"',
            'parent = "room"',
            "is a cooling zone; expected a power domain",
        ),
        ('parent = "feed-a"', 'parent = "pdu-a1"', "pdu-a1 → pdu-a1 is a loop"),
        ('name = "pdu-a1"', 'name = "feed-a"', "a domain or zone named feed-a exists already"),
        ('name = "pdu-a1"', 'name = "a/b"', "not a valid name"),
        (
            'cooling_zone = "room"',
            'cooling_zone = "rom"',
            "zone named rom; the nearest is room",
        ),
        ('cooling_zone = "room"', 'cooling_zone = "feed-a"', "expected a cooling zone"),
        ('{ domain = "pdu-a1" }', '{ domain = "room" }', "expected a power domain"),
        (
            '{ domain = "pdu-a1" }',
            '{ domain = "pdu-a1", share = 0.5 }',
            "the shares add up to less than 1",
        ),
        (
            '{ domain = "pdu-a1" }',
            '{ domain = "pdu-a1", share = 2 }',
            "expected a number from 0 to 1",
        ),
        ('{ domain = "pdu-a1" }', '{ domain = "pdu-a1", x = 2 }', 'unknown key "x"'),
        ('[{ domain = "pdu-a1" }]', "[]", "expected power inputs such as"),
        ('[{ domain = "pdu-a1" }]', '"pdu-a1"', "expected power inputs such as"),
        ('["feed-a", "pdu-a1"]', '["feed-a", "feed-a"]', "a domain is listed twice"),
        ('inputs = ["feed-a", "pdu-a1"]\n', "", "inputs is missing in [[node]]"),
        ('rack = "r2"\n', "", "rack is missing in [[node]]"),
        ('name = "lone"', 'name = "gpu-02"', "a node named gpu-02 exists already"),
        ("[01-03,10]", "[03-01]", 'expected ranges such as "gpu-[001-016]"'),
        ("[01-03,10]", "[000001-999999]", "a site has at most 20000"),
        ("[01-03,10]", "[x]", "not a valid name"),
        ('nameplate = "10kW"', 'nameplate = "1kW"', "nameplate is below what non_gpu_worst draws"),
        ("off = true", 'off = "yes"', "expected true or false"),
        ('fabric = "ib"', 'fabric = ["ib"]', "fabric: expected text in quotes"),
        ('http_address = "127.0.0.1:8080"', 'http_address = "8080"', "expected HOST:PORT"),
        (
            'http_address = "127.0.0.1:8080"',
            'http_address = "127.0.0.1:8080"\ntrusted_proxies = ["10.0.0.1/8"]',
            'has host bits set; expected networks, as in "10.0.0.0/8"',
        ),
        (
            'http_address = "127.0.0.1:8080"',
            'http_address = "127.0.0.1:8080"\nconnections_per_address = 0',
            "from 1 to 4096",
        ),
        ('alice = "operator"', 'alice = "agent"', "expected one of submitter, operator, admin"),
        ('"0W"', '"45kW"', "no task could run in pdu-a1"),
        ("[site]", "[site", "site.toml:1: not valid TOML"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_remedy(old: str, new: str, said: str) -> None:
    assert old in FULL
    problems = refused(FULL.replace(old, new, 1))
    assert any(said in problem for problem in problems), problems


def test_a_loop_of_several_is_told_once() -> None:
    domain = '[[power_domain]]\nname = "{}"\nparent = "{}"\nrating = "1kW"\n'
    text = HEAD + domain.format("a", "b") + domain.format("b", "c") + domain.format("c", "a")
    assert refused(text) == ("site.toml:7: a → b → c → a is a loop",)


def test_a_reserve_worked_out_too_large_says_that_it_was_worked_out() -> None:
    text = HEAD + (
        '[[power_domain]]\nname = "p"\nrating = "3kW"\n'
        '[[node]]\nname = "n"\nrack = "r"\ninputs = ["p"]\n'
        'nameplate = "10kW"\nnon_gpu_worst = "1kW"\n'
    )
    [problem] = refused(text)
    assert "foreign_reserve defaults to the largest jump of one node" in problem


def test_problems_come_in_the_order_of_the_file() -> None:
    text = FULL.replace('"2s"', '"2"').replace('"100kW"', '"100"').replace('"r2"', '"/"')
    lines = [int(problem.split(":")[1]) for problem in refused(text)]
    assert lines == sorted(lines)
    assert len(lines) == 3


def test_a_large_site_is_read_quickly() -> None:
    text = HEAD + (
        '[[power_domain]]\nname = "p"\nrating = "999MW"\n'
        '[[node]]\nname = "r[01-20]-n[0001-1000]"\nrack = "r"\ninputs = ["p"]\n'
        'nameplate = "10kW"\nnon_gpu_worst = "1kW"\n'
    )
    assert len(parse_site(text, "x").nodes) == 20_000


ACCOUNTS = """
[fair_share]
half_life = "3d"
energy = 2
own_accounts = false
[[account]]
name = "research"
shares = 60
[[account]]
name = "vision"
parent = "research"
"""


def test_accounts_and_fair_share_are_read() -> None:
    site = parse_site(FULL + ACCOUNTS, "site.toml")
    assert (site.fair_share.half_life_s, site.fair_share.energy) == (3 * 86_400, 2.0)
    assert (site.fair_share.own_accounts, FairShare().own_accounts) == (False, True)
    names = [(a.name, a.parent, a.shares) for a in site.accounts]
    assert names == [("research", None, 60.0), ("vision", "research", 1.0)]


def test_quotas_users_and_priorities_of_queues_are_read_and_written() -> None:
    limits = 'gpus = 8\npower = "4kW"\nenergy_per_day = "9kWh"\nopen_jobs = 500\nusers = ["ada"]\n'
    most = f'{limits}max_priority = "normal"\n'
    night = f'name = "night"\nmax_runtime = "12h"\ngoal = "efficiency"\n{most}'
    queues = f'[[queue]]\n{night}[[queue]]\nname = "day"\n'
    text = f"{FULL}{ACCOUNTS}{most}{queues}"
    read = parse_site(text, "site.toml")
    assert [account.max_priority for account in read.accounts] == [None, 50]
    assert [account.quota.open_jobs for account in read.accounts] == [0, 500]
    assert [queue.max_priority for queue in read.queues] == [50, None]
    assert [queue.max_runtime_s for queue in read.queues] == [43_200.0, 0.0]
    assert [queue.goal for queue in read.queues] == ["efficiency", ""]
    assert parse_site(format_site(read), "again") == read


def test_keys_of_a_gateway_are_read_and_written() -> None:
    address = 'http_address = "127.0.0.1:8080"\n'
    keys = 'trusted_proxies = ["10.0.0.0/8", "2001:db8::1"]\nconnections_per_address = 9\n'
    keys += 'hold = "5s"\ntls_cert = "/etc/c.pem"\ntls_key = "/etc/c.key"\ninsecure = true\n'
    read = parse_site(FULL.replace(address, address + keys), "site.toml")
    (gateway,) = read.gateways
    assert gateway.trusted_proxies == ("10.0.0.0/8", "2001:db8::1")
    assert (gateway.connections_per_address, gateway.hold_s) == (9, 5.0)
    assert (gateway.tls_cert, gateway.tls_key) == ("/etc/c.pem", "/etc/c.key")
    assert gateway.insecure
    assert parse_site(format_site(read), "again") == read


def test_users_of_service_names_are_read_and_written() -> None:
    text = f'{FULL}[[service]]\nname = "echo"\nusers = ["ada", "bob"]\n'
    read = parse_site(text, "site.toml")
    assert read.services == (Service("echo", ("ada", "bob")),)
    assert parse_site(format_site(read), "again") == read


def test_weights_that_are_not_given_are_the_usual_ones() -> None:
    site = parse_site(f"{FULL}\n[weights]\nwatts = 0.5\nstranding = 0\n", "site.toml")
    assert site.weights == Weights(watts=0.5, stranding=0.0)
    assert parse_site(FULL, "site.toml").weights == Weights()


@pytest.mark.parametrize(
    ("key", "reported"),
    [
        ("stranding = -1", "expected a number from 0 to 1000"),
        ("spred = 1", "the nearest is spread"),
        ("heat = 1", "unknown key weights.heat"),
    ],
)
def test_weights_that_cannot_be_are_told_of(key: str, reported: str) -> None:
    assert reported in str(refused(f"{FULL}\n[weights]\n{key}\n"))


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ('[[account]]\nname = "a"\n[[account]]\nname = "a"', "an account named a exists already"),
        ('[[account]]\nname = "ab"\nparent = "bc"', "no account named bc; there are ab"),
        ('[[account]]\nname = "abc"\nparent = "abd"', "the nearest is abc"),
        ('[[account]]\nname = "a"\nparent = "a"', "a → a is a loop"),
        ('[[account]]\nname = "a"\nshares = 0', "must be above 0"),
        ('[[queue]]\nname = "a"\nmax_priority = "hihg"', 'did you mean "high"?'),
        ('[[service]]\nname = "echo"', "users is missing in [[service]]"),
        ('[[service]]\nname = "echo"\nusers = []', "expected a list of 1 to 1000 texts"),
        ('[[service]]\nname = "a/b"\nusers = ["ada"]', "is not a valid name"),
        (
            '[[service]]\nname = "a"\nusers = ["ada"]\n[[service]]\nname = "a"\nusers = ["bob"]',
            "a service named a exists already",
        ),
        ('[fair_share]\nhalf_life = "1s"', "expected from 1m to 366d"),
        ('[fair_share]\nhalflife = "1d"', "the nearest is half_life"),
    ],
)
def test_accounts_that_cannot_be_are_told_of(text: str, reported: str) -> None:
    assert reported in str(refused(f"{FULL}\n{text}\n"))
