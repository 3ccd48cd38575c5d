"""The launcher of torchrun opens the rendezvous port itself, before torch is loaded."""

import socket

import pytest

from wattline_protocol.wire import task_order
from wattline_runtime.train.rendezvous import PORT_TAKEN_STATUS, listen

LOOPBACK = "127.0.0.1"


def test_the_launcher_and_the_scheduler_mean_the_same_status() -> None:
    assert PORT_TAKEN_STATUS == task_order.PORT_TAKEN_STATUS


def test_it_listens_on_the_address_alone() -> None:
    with listen(LOOPBACK, 0) as open_port:
        assert open_port.getsockname()[0] == LOOPBACK


@pytest.mark.parametrize("host", ["localhost", "192.0.2.1"])
def test_of_a_name_or_an_address_of_another_host_it_listens_on_all(host: str) -> None:
    with listen(host, 0) as open_port:
        assert open_port.getsockname()[0] in ("::", "0.0.0.0")


def test_a_port_of_another_program_ends_it_with_the_status_for_that(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            listen(LOOPBACK, port)
    assert ended.value.code == PORT_TAKEN_STATUS
    assert f"rendezvous at 127.0.0.1 port {port}: Address already in use" in capsys.readouterr().err
