"""Metrics of services: what is known, by service."""

import msgspec

from support.core.service_views import services_now
from wattline_scheduler.shell.http_api.service_metrics import exposition


def test_each_value_that_is_known_is_a_line() -> None:
    text = exposition(services_now().services).decode()
    for line in (
        'wattline_service_replicas{number="ready",service="chat"} 2.0',
        'wattline_service_replicas{number="max",service="digits"} 2.0',
        'wattline_service_watts{of="wanted",service="chat"} 5600.0',
        'wattline_service_slo_burn_rate{service="chat",window="1h"} 3.2',
        'wattline_service_p95_seconds{of="slo",service="night"} 1.0',
        'wattline_service_requests_per_second{service="digits"} 17.4',
        'wattline_service_hour_joules{of="idle",service="chat"} 96000.0',
        'wattline_service_hour_measured_outputs{service="chat"} 61200.0',
    ):
        assert line in text.splitlines(), text
    assert 'slo_burn_rate{service="night",window="1h"}' not in text, "not known"
    assert 'watts{of="now",service="digits"}' not in text, "no SLO"


def test_a_name_cannot_forge_a_line() -> None:
    odd = msgspec.structs.replace(services_now().services[0], name='x"} 1\nforged 1')
    assert "\nforged" not in exposition([odd]).decode()
