"""What a driver says as text, over the simulated driver library."""

from pathlib import Path

from support.node.drivers import agent_process
from support.node.simnode import make_node, serving
from wattline_sim.statefile import open_state


def test_a_name_that_is_no_text_makes_one_gpu_unreadable_and_no_other(
    tmp_path: Path,
) -> None:
    node = make_node(tmp_path / "node", gpus=4)
    open_state(node.state_file).gpus[1].identity.name = b"\xff\xfe"
    code = """
collector = open_collector(LIBRARY, SYSFS)
answer([bool(gpu.uuid) for gpu in collector.gpus()])
answer(collector.gpus()[1].why_not)
answer(collector.gpus()[1].cap_max_mw == collector.gpus()[0].cap_max_mw)
answer(len(collector.sample(5.0)))
collector.close()
"""
    with serving(node):
        said, why_not, is_at_most, count = agent_process(code, node)
    assert said == [True, False, True, True]
    assert why_not == "its name or UUID is no UTF-8 text"
    assert (is_at_most, count) == (True, 4)
