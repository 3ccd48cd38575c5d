"""Data sets in job files: `NAME@v3`, or `NAME@stable` for the version that an alias names."""

from wattline_protocol.data.references import parse_reference
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.toml_fields import text, texts

MAX_DATASETS = 50
VARIABLE_PREFIX = "WATTLINE_DATA_"
MODEL_VARIABLE = "WATTLINE_MODEL"
"""Has the path of the model that a service serves."""


def datasets(value: object) -> tuple[str, ...]:
    """Data sets with their versions."""
    items = texts(MAX_DATASETS)(value)
    for item in items:
        _check(item, "imagenet@v3")
    return items


def model(value: object) -> str:
    """The version of a model."""
    return _check(text(value), "net@v2")


def _check(item: str, example: str) -> str:
    if "@" not in item:
        raise ValueError(f'"{item}": expected NAME@VERSION, as in "{example}"')
    parse_reference(item)
    return item


def variable_of(name: str) -> str:
    """The variable that has the path of a data set."""
    return VARIABLE_PREFIX + name.upper().replace("-", "_").replace(".", "_")


def data_problems(job: JobSpec) -> list[tuple[str, bool, str]]:
    """(key, whether it is wrong, what would be right)."""
    seen: dict[str, str] = {}
    twice = ""
    for item in job.data.datasets:
        variable = variable_of(item.partition("@")[0])
        if variable in seen:
            twice = f"{seen[variable]} and {item} have one variable, {variable}: omit one of them"
        seen[variable] = item
    no_data = bool(job.data.check) and not job.data.datasets
    return [
        ("data.datasets", bool(twice), twice),
        ("data.check", no_data, "it checks versions of data sets: name some in data.datasets"),
    ]
