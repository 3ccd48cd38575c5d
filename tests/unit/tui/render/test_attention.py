"""What needs attention comes in the order in which an operator would act."""

import msgspec

from support.core.site_views import NOON, busy_site, problem, shed_limit, troubled_site
from wattline_protocol.ids import DomainId, JobId, UnixTime, UserName
from wattline_protocol.views.power_views import BindingView
from wattline_protocol.views.queue_views import QueuedView
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.problems import Acknowledgement
from wattline_tui.listing.totals import open_totals
from wattline_tui.render.attention import attention_entries, attention_lines
from wattline_tui.render.queue import queue_lines, queued_jobs

BINDING = BindingView(88, 14, (JobId(3),), 4_800.0, 0.91, UnixTime(NOON - 1_260))


def limited() -> SiteView:
    site = troubled_site()
    rack = msgspec.structs.replace(site.domains[1], binding=BINDING)
    planned = shed_limit(phase="planned", is_binding=False, start_unix_s=NOON + 7_200)
    far = msgspec.structs.replace(site.domains[2], limits=(planned,))
    seen = msgspec.structs.replace(
        problem(9, "meter_stale", "rack-r2", "alarm", "no value for 12 s"),
        acknowledged=Acknowledgement(UserName("olga"), NOON, "part ordered"),
    )
    domains = (site.domains[0], rack, far, *site.domains[3:])
    return msgspec.structs.replace(site, domains=domains, problems=(*site.problems, seen))


def text(lines: object) -> list[str]:
    assert isinstance(lines, list)
    return ["".join(piece for piece, _ in line).rstrip() for line in lines]


def test_alarms_then_what_limits_work_then_warnings_then_sheds_then_what_is_seen() -> None:
    entries = attention_entries(limited())
    assert [(one.mark, one.subject) for one in entries] == [
        ("‼", "site"), ("!", "rack-r1"), ("!", "gpu-01 GPU 3"), ("▲", "site"), ("✓", "rack-r2"),
    ]  # fmt: skip
    assert entries[1].domain == DomainId("rack-r1")
    assert entries[4].text == "olga: part ordered · no value for 12 s"


def test_a_line_says_how_long() -> None:
    shown = text(attention_lines(attention_entries(limited()), None, 100, 9))
    assert shown[1] == (
        "! rack-r1          limits 14 jobs: 88 GPUs have 91 % of the watts needed (median), "
        "4.8 kW short  21m"
    )
    assert text(attention_lines([], None, 80, 9)) == ["Nothing needs attention."]


def test_the_queue_is_in_its_order_with_starts_and_reasons() -> None:
    site = busy_site()
    gone = QueuedView(JobId(99), None)
    site = msgspec.structs.replace(site, queue=(gone, *site.queue))
    assert open_totals(site.jobs) == "2 running · 1 waiting"
    heading, job = text(queue_lines(queued_jobs(site), None, NOON, 80, 9))
    assert heading.split() == ["job", "user", "GPUs", "waits", "start", "why"]
    assert job.split()[:4] == ["3", "ada", "16", "11m"]
    assert job.endswith("watts: 2.1 kW missing in rack-r2")
    assert text(queue_lines([], None, NOON, 80, 9)) == ["No job waits."]
