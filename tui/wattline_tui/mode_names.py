"""The modes of the terminal: keys and titles. Their screens are in `modes`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModeName:
    """One of them. `id` names it for Textual and for remapped keys."""

    key: str
    id: str
    title: str
    short: str
    """Of the title, where the terminal is narrow."""
    help: str


MODE_NAMES = (
    ModeName("1", "site", "Site", "Site", "Budgets, racks, attention, queue"),
    ModeName("2", "nodes", "Nodes", "Nodes", "All nodes"),
    ModeName("3", "jobs", "Jobs", "Jobs", "All jobs"),
    ModeName("4", "services", "Services", "Serv", "Replicas, SLO, watts, joules"),
    ModeName("5", "problems", "Problems", "Prob", "Open problems and events"),
    ModeName("6", "power", "Power", "Power", "Budgets of domains, and their limits"),
    ModeName("7", "accounts", "Accounts", "Acct", "Shares, use and quotas; reservations"),
)
