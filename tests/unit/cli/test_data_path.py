"""Where a task finds its data sets."""

from pathlib import Path

import pytest

from wattline import task
from wattline_protocol.job.data_values import variable_of


def test_the_folder_of_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable_of("words-en.2"), "/cache/versions/ab")
    assert task.data_path("words-en.2") == Path("/cache/versions/ab")
    with pytest.raises(
        LookupError, match=r"no data set digits \(WATTLINE_DATA_DIGITS\); it has WO"
    ):
        task.data_path("digits")
