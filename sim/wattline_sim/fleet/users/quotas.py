"""Quotas of the site, and which queues and accounts jobs name. Half of all sites have them.

Their dice are their own, so that a site without them runs exactly as it would if there were none.
Energy and money are left out: a day that is used up would keep jobs from ending.
"""

import random

import msgspec

from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Account, Queue, Quota, Site
from wattline_sim.fleet.users.scenario import gang_mw

SITES_SHARE = 0.5
PROTECTED_S = (0.0, 2.0, 60.0)


def with_quotas(site: Site, dice: random.Random) -> Site:
    """The site with a queue and a tree of accounts that may hold little at a time."""
    if dice.random() >= SITES_SHARE:
        return site
    queues = (
        Queue("small", Quota(gpus=dice.randint(2, 8))),
        # Any one job fits: before a node was heard nobody knows what its GPUs take.
        Queue("cool", Quota(power_mw=int(gang_mw() * dice.uniform(1.0, 1.5)))),
    )
    lab = Account("lab", shares=3.0, quota=Quota(gpus=dice.randint(4, 16)))
    accounts = lab, Account("vision", "lab")
    # Who is protected for longer than a job takes here is never sent away.
    times = msgspec.structs.replace(site.timing, protected_run_s=dice.choice(PROTECTED_S))
    return msgspec.structs.replace(site, queues=queues, accounts=accounts, timing=times)


def with_place(spec: JobSpec, site: Site, dice: random.Random) -> JobSpec:
    """The job in some queue and under some account, where the site has any."""
    if not site.queues:
        return spec
    queue = dice.choice(("default", "small", "cool"))
    return msgspec.structs.replace(spec, queue=queue, account=dice.choice(("", "lab", "vision")))
