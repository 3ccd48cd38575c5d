"""What the node screen says of one host, in words."""

import msgspec

from support.core.site_views import busy_site
from wattline_protocol.ids import JobId
from wattline_protocol.wire.mig import MigView
from wattline_tui.model import View
from wattline_tui.screens.node import facts_of

VIEW = View(busy_site())


def test_labels_stand_beside_the_rack() -> None:
    node = busy_site().nodes[0]
    plain = facts_of(node, VIEW, 0.0).splitlines()[0]
    assert "rack r1 · heard" in plain
    labelled = msgspec.structs.replace(node, labels={"fabric": "ib", "disk": "nvme"})
    assert "rack r1 · disk=nvme, fabric=ib · heard" in facts_of(labelled, VIEW, 0.0)


def test_a_divided_gpu_names_its_devices_and_who_has_them() -> None:
    gpu = busy_site().nodes[0].gpus[0]
    devices = (MigView("MIG-1", "3g.40gb", 1, JobId(17)), MigView("MIG-2", "1g.10gb", 1, None))
    assert msgspec.structs.replace(gpu, mig=devices).jobs == "3g.40gb 17, 1g.10gb –"
