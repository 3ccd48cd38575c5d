"""Accounts, quotas and holders of GPUs as rows of text."""

import pytest

from support.core.site_views import NOON, accounts_now, busy_site, shared_site
from support.programs.time_zone import local_time
from wattline_protocol.wire.client_messages import Accounts
from wattline_tui.accounts import ACCOUNT_COLUMNS, BAR, QUOTA_COLUMNS, account_rows, bar, quota_rows
from wattline_tui.holders import held_in_short, holders_of
from wattline_tui.model import View


def test_what_is_below_an_account_is_set_in() -> None:
    rows = [cells for _, cells in account_rows(accounts_now())]
    assert [cells[0] for cells in rows] == ["grace", "research", "  vision", "  language"]
    vision = dict(zip(ACCOUNT_COLUMNS, rows[2], strict=True))
    assert (vision["due"], vision["used"], vision["used/due"]) == ("50%", "41%", "0.82")
    assert (vision["GPUs"], vision["run"], vision["wait"]) == ("16", "2", "1")


def test_a_quota_says_what_is_left_and_who_waits() -> None:
    with local_time("UTC"):
        rows = quota_rows(accounts_now(), NOON)
    found = [dict(zip(QUOTA_COLUMNS, cells, strict=True)) for _, cells in rows]
    gpus, power, energy, cost = found
    assert (gpus["used"], gpus["of"], gpus["left"]) == ("6.43", "8 GPUs", "1.57")
    assert (gpus["pending jobs"], gpus["resets"]) == ("3", "as work ends")
    assert (power["used"], power["of"], power["left"]) == ("11.5 kW", "20 kW", "8.48 kW")
    assert power["pending jobs"] == "–"
    assert (energy["left"], energy["pending jobs"]) == ("0", "5, 7, 8, 11, 12 and 7 more")
    assert (cost["used"], cost["of"]) == ("1,812", "5,000 $/month")


@pytest.mark.parametrize(
    ("used", "limit", "filled"),
    [(0, 8, 0), (0.01, 8, 1), (4, 8, 4), (7.99, 8, BAR - 1), (8, 8, BAR), (9, 8, BAR), (0, 0, BAR)],
)
def test_a_bar_is_full_only_where_nothing_is_left(used: float, limit: float, filled: int) -> None:
    assert bar(used, limit) == "█" * filled + "·" * (BAR - filled)


def test_without_accounts_there_are_no_rows() -> None:
    nothing = Accounts((), 604_800.0)
    assert account_rows(nothing) == quota_rows(nothing, NOON) == []


def test_each_part_of_a_gpu_names_its_holder() -> None:
    site = shared_site()
    shared, divided, whole = site.nodes[2].gpus[:3]
    view = View(site)
    assert holders_of(shared, view) == [
        ("share 0.5", "1 resnet-ablation"),
        ("share 0.25", "2 sweep"),
        ("share 0.25", "free"),
    ]
    assert held_in_short(shared) == "0.75 in shares"
    assert shared.jobs == "1 (0.5), 2 (0.25)"
    assert holders_of(divided, View()) == [("3g.40gb", "2"), ("3g.40gb", "free")]
    assert held_in_short(divided) == "1 of 2 MIG devices"
    assert holders_of(whole, view) == []
    assert held_in_short(whole) == held_in_short(busy_site().nodes[0].gpus[0]) == "1"
