"""Metrics of one attempt over its steps, in bounded memory. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_protocol.wire.task_reports.run_records import (
    MAX_CHECKPOINTS,
    MAX_CURVES,
    MAX_PARAMETER_CHARS,
    MAX_PARAMETERS,
    MAX_PART_BYTES,
    MAX_POINTS,
    Curve,
    Parameter,
    Point,
    RunReport,
    packed,
)

STEP = "step"
MAX_POINTS_OF_ALL = 2_048
MAX_CHARS_OF_ALL = 16_384
"""Points, and characters of parameters, of one report: whatever a task has reported, it is made in
some milliseconds."""


@dataclass(slots=True)
class Thinned:
    """The first value, the last one, and every `stride`-th between them.

    The values retained depend on their number alone, so that equal runs retain equal steps.
    """

    stride: int = 1
    count: int = 0
    lowest: float = 0.0
    highest: float = 0.0
    points: list[tuple[float, float, float]] = field(default_factory=list)
    last: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, curve: Curve) -> Self:
        """Continues a curve that was stored."""
        points = [(point.step, point.value, point.unix_s) for point in curve.points]
        stride = 1
        while -(-curve.count // stride) > len(points):
            stride *= 2
        retained = points[: -(-curve.count // stride)]
        return cls(stride, curve.count, curve.lowest, curve.highest, retained, points[-1])

    def add(self, step: float | None, value: float, unix_s: float) -> None:
        """The next value. Without a step its number counts."""
        point = (self.count + 1.0 if step is None else step, value, unix_s)
        if self.count % self.stride == 0:
            self.points.append(point)
            if len(self.points) > MAX_POINTS:
                self.points, self.stride = self.points[::2], self.stride * 2
        self.lowest = value if not self.count else min(self.lowest, value)
        self.highest = value if not self.count else max(self.highest, value)
        self.count, self.last = self.count + 1, point

    def curve(self, name: str, most: int = MAX_POINTS) -> Curve:
        """As a part of a report, of at most `most` points and the last one."""
        skip = 1
        while len(self.points) > most * skip:
            skip *= 2
        points = self.points[::skip]
        if points[-1] is not self.last:
            points.append(self.last)
        found = tuple(Point(*point) for point in points)
        return Curve(name, self.count, self.lowest, self.highest, found)


@dataclass(slots=True)
class RunHistory:
    """What the program of one attempt has reported so far; its values are within bounds."""

    curves: dict[str, Thinned] = field(default_factory=dict)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    parameter_chars: int = 0
    dropped_values: int = 0
    dropped_parameters: int = 0
    unread_bytes: int = 0
    read_to: int = 0
    """Offset in the file of metrics up to which it is part of this."""
    checkpoints: list[SavedCheckpoint] = field(default_factory=list)
    """The newest."""
    dropped_checkpoints: int = 0

    @classmethod
    def of(cls, report: RunReport) -> Self:
        """Continues a history that was stored."""
        chars = sum(len(name) + len(str(value)) for name, value in report.parameters.items())
        return cls(
            {curve.name: Thinned.of(curve) for curve in report.curves},
            dict(report.parameters),
            chars,
            report.dropped_values,
            report.dropped_parameters,
            report.unread_bytes,
            report.read_to,
            list(report.checkpoints),
            report.dropped_checkpoints,
        )

    def add(self, values: Mapping[str, float], unix_s: float) -> None:
        """Metrics that were reported together."""
        step = values.get(STEP)
        for name, value in values.items():
            if name == STEP and len(values) > 1:
                continue
            if name not in self.curves and len(self.curves) >= MAX_CURVES:
                self.dropped_values += 1
                continue
            self.curves.setdefault(name, Thinned()).add(step, value, unix_s)

    def set(self, name: str, value: Parameter) -> None:
        """A parameter; the last value of a name holds."""
        value = value[:MAX_PARAMETER_CHARS] if isinstance(value, str) else value
        more = len(name) + len(str(value))
        if name in self.parameters:
            more -= len(name) + len(str(self.parameters[name]))
        is_new_beyond = name not in self.parameters and len(self.parameters) >= MAX_PARAMETERS
        if is_new_beyond or self.parameter_chars + more > MAX_CHARS_OF_ALL:
            self.dropped_parameters += 1
        else:
            self.parameters[name], self.parameter_chars = value, self.parameter_chars + more

    def save(self, checkpoint: SavedCheckpoint) -> None:
        """A checkpoint was published."""
        self.checkpoints.append(checkpoint)
        if len(self.checkpoints) > MAX_CHECKPOINTS:
            del self.checkpoints[0]
            self.dropped_checkpoints += 1

    def part(self, gpus: tuple[str, ...] = (), inventory_note: str = "") -> bytes:
        """The report as it is stored. Where it would be too large it has fewer points, then fewer
        parameters."""
        parameters = self.parameters
        most = min(MAX_POINTS, MAX_POINTS_OF_ALL // max(1, len(self.curves)))
        while True:
            report = RunReport(
                parameters,
                tuple(one.curve(name, most) for name, one in self.curves.items()),
                self.dropped_parameters + len(self.parameters) - len(parameters),
                self.dropped_values,
                self.unread_bytes,
                tuple(self.checkpoints),
                self.dropped_checkpoints,
                gpus,
                inventory_note,
                self.read_to,
            )
            data = packed(report)
            if len(data) <= MAX_PART_BYTES or (most == 1 and not parameters):
                return data
            if most > 1:
                most //= 2
            else:
                parameters = dict(list(parameters.items())[: len(parameters) // 2])
