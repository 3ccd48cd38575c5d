"""Values of NVML's field batch, as a driver may fill it."""

import math

import pynvml
import pytest

from wattline_agent.device.fields import value_of

DOUBLE, UINT, ULONGLONG, SINT = 0, 1, 3, 5
"""NVML's value types."""


def entry(kind: int, member: str, value: float, code: int = pynvml.NVML_SUCCESS) -> object:
    made = pynvml.c_nvmlFieldValue_t(valueType=kind, nvmlReturn=code)
    setattr(made.value, member, value)
    return made


@pytest.mark.parametrize(
    "unknown",
    [
        entry(DOUBLE, "dVal", math.nan),
        entry(DOUBLE, "dVal", math.inf),
        entry(UINT, "uiVal", 2**32 - 1),
        entry(ULONGLONG, "ullVal", 2**64 - 1),
        entry(UINT, "uiVal", 5, pynvml.NVML_ERROR_NOT_SUPPORTED),
        entry(99, "uiVal", 5),
    ],
)
def test_what_is_no_value_is_none(unknown: object) -> None:
    assert value_of(unknown) is None


@pytest.mark.parametrize(
    ("known", "value"),
    [
        (entry(DOUBLE, "dVal", 0.5), 0.5),
        (entry(UINT, "uiVal", 700_000), 700_000),
        (entry(ULONGLONG, "ullVal", 2**40), 2**40),
        (entry(SINT, "siVal", -1), -1),
    ],
)
def test_values_are_of_their_type(known: object, value: float) -> None:
    assert value_of(known) == value
