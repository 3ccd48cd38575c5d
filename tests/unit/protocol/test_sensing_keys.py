"""Meters and cooling plant in the site file: read, written back, refused in words."""

import pytest

from wattline_protocol.site import sensing as s
from wattline_protocol.site.checks import site_warnings
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.model import Site
from wattline_protocol.site.text import format_site

HEAD = """
[site]
name = "lab"
agent_endpoint = "tcp://10.0.0.5:7701"
client_endpoint = "tcp://10.0.0.5:7702"
[[power_domain]]
name = "pdu-a"
rating = "40kW"
"""
ZONE = """
[[cooling_zone]]
name = "room"
capacity = "90kW"
"""


def parsed(text: str) -> Site:
    return parse_site(HEAD + text, "site.toml")


def meter(text: str) -> s.Meter:
    site = parsed(f"[power_domain.meter]\n{text}")
    found = site.domains[0].meter
    assert found is not None
    assert parse_site(format_site(site), "again") == site
    return found


def plant(text: str) -> s.Plant:
    site = parsed(f"{ZONE}{text}")
    found = site.domains[1].plant
    assert found is not None
    assert parse_site(format_site(site), "again") == site
    return found


def refusal(text: str) -> str:
    with pytest.raises(SiteFileError) as caught:
        parsed(text)
    return str(caught.value)


def test_a_command() -> None:
    found = meter('command = ["/usr/local/bin/pdu", "a1"]\npointer = "/watts"\n')
    assert found.sensor.source == s.CommandSource(("/usr/local/bin/pdu", "a1"), "/watts")
    assert (found.sensor.period_s, found.sensor.timeout_s) == (5.0, 2.0)
    assert (found.stale_after_s, found.frozen_after_s) == (15.0, 60.0)
    assert found.counts_fixed_load
    assert found.fallback_mw is None


def test_a_prometheus_query_in_kilowatts_with_a_fallback() -> None:
    found = meter(
        'prometheus = "https://prom:9090"\nquery = "sum(pdu)"\nscale = 1000\nperiod = "2s"\n'
        'ca_file = "/etc/ca.pem"\nsecret_file = "/etc/prom.token"\nalso_counts = "1kW"\n'
        'fallback_budget = "20kW"\ncounts_fixed_load = false\nstale_after = "30s"\n'
    )
    access = s.Access(secret_file="/etc/prom.token", ca_file="/etc/ca.pem")
    assert found.sensor.source == s.PrometheusSource("https://prom:9090", "sum(pdu)", access)
    assert (found.sensor.scale, found.sensor.period_s, found.stale_after_s) == (1000.0, 2.0, 30.0)
    assert (found.also_counts_mw, found.fallback_mw) == (1_000_000, 20_000_000)
    assert not found.counts_fixed_load


def test_a_redfish_resource() -> None:
    url = "https://10.0.0.9/redfish/v1/PowerEquipment/RackPDUs/1/Outlets/A1"
    found = meter(f'redfish = "{url}"\nuser = "reader"\nsecret_file = "/etc/pdu.secret"\n')
    assert found.sensor.source == s.RedfishSource(url, "", s.Access("reader", "/etc/pdu.secret"))


def test_units_weather_and_inlets() -> None:
    found = plant(
        'units = 3\nunit_capacity = "40kW"\ninlet_limit_c = 27\noverbook = 1.25\n'
        'weather_file = "/etc/w.csv"\n'
        "capacity_at = [{ outside_c = 35, share = 1.0 }, { outside_c = 45, share = 0.8 }]\n"
        '[cooling_zone.units_sensor]\ncommand = ["crah-count"]\nperiod = "10s"\n'
    )
    assert (found.units, found.unit_mw, found.inlet_limit_c) == (3, 40_000_000, 27.0)
    assert found.overbook_permille == 1_250
    assert found.capacity_at == (s.OutsidePoint(35.0, 1000), s.OutsidePoint(45.0, 800))
    assert found.units_sensor == s.Sensor(s.CommandSource(("crah-count",)), period_s=10.0)


def test_a_zone_without_these_keys_has_no_plant() -> None:
    assert parsed(ZONE).domains[1].plant is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("", "expected one source"),
        ('command = ["a"]\nredfish = "https://h/x"', "command and redfish"),
        ('prometheus = "http://127.0.0.1:9090"', "query is missing"),
        ('command = ["a"]\nquery = "up"', "query applies to prometheus, not to command"),
        ('redfish = "10.0.0.9/redfish"', "expected a URL"),
        ('redfish = "https://h:99999999/redfish"', "expected a URL"),
        ('redfish = "https://u:p@h/x"', "remove user and password"),
        ('redfish = "http://10.0.0.9/x"\nsecret_file = "/s"', "a secret requires https"),
        ('redfish = "https://h/x"\nuser = "me"', "user requires secret_file"),
        ('redfish = "https://h/x"\nsecret_file = "s"', "expected an absolute path"),
        ('redfish = "https://h/x"\npointer = "Reading"', "expected a JSON pointer"),
        ('command = ["a"]\nperiod = "1s"\ntimeout = "2s"', "timeout must be at most the period"),
        ('command = ["a"]\nstale_after = "1s"', "expected from 5s"),
        ('command = ["a"]\nwatts = 1', "unknown key power_domain.meter.watts"),
    ],
)
def test_a_meter_that_makes_no_sense(keys: str, words: str) -> None:
    assert words in refusal(f"[power_domain.meter]\n{keys}\n")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("units = 3", "units and unit_capacity must be set together"),
        ('unit_capacity = "3kW"', "units and unit_capacity must be set together"),
        ('weather_file = "/w.csv"', "capacity_at requires an outside temperature"),
        ("capacity_at = [{ outside_c = 35, share = 1.0 }]", "capacity_at requires an outside"),
        ("capacity_at = [{ outside_c = 35 }]", "expected points such as"),
        (
            "capacity_at = [{ outside_c = 35, share = 1.0 }, { outside_c = 35, share = 0.9 }]",
            "rising order",
        ),
        ("overbook = 1.2", "overbook requires inlet_limit_c"),
        ("inlet_limit_c = 27\noverbook = 3", "expected a number from 1 to 2"),
        ("inlet_limit_c = 270", "expected a number from 5 to 60"),
        ('[cooling_zone.units_sensor]\ncommand = ["a"]', "units_sensor requires units"),
    ],
)
def test_a_plant_that_makes_no_sense(keys: str, words: str) -> None:
    assert words in refusal(f"{ZONE}{keys}\n")


def test_only_power_domains_have_meters_and_only_zones_have_plant() -> None:
    assert "unknown key cooling_zone.meter" in refusal(f'{ZONE}meter = {{ command = ["a"] }}\n')
    assert "unknown key power_domain.units" in refusal("units = 3\n")


def test_a_fallback_that_changes_nothing_is_warned_of() -> None:
    site = parsed('[power_domain.meter]\ncommand = ["a"]\nfallback_budget = "32kW"\n')
    assert any("it has no effect" in warning for warning in site_warnings(site))
