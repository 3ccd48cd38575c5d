"""Linear fit of pairs of watts by least squares with exponential forgetting; pure."""

from dataclasses import dataclass

from wattline_protocol.ids import Instant

HALF_LIFE_S = 600.0
SLOPE_RANGE = (0.0, 1.5)


@dataclass(slots=True)
class LeastSquares:
    """Weighted sums; a pair has half its weight after `HALF_LIFE_S`."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    at: Instant | None = None

    def add(self, x: float, y: float, at: Instant) -> None:
        """Add a pair; times must not decrease."""
        decay = 1.0 if self.at is None else 0.5 ** ((at - self.at) / HALF_LIFE_S)
        self.at = at
        self.weight = self.weight * decay + 1.0
        self.x, self.y = self.x * decay + x, self.y * decay + y
        self.xx, self.xy = self.xx * decay + x * x, self.xy * decay + x * y

    def slope(self, spread: float) -> float:
        """y per x, pulled towards 1 as by pairs with that spread of x (ridge)."""
        if self.weight == 0.0:
            return 1.0
        x, y = self.x / self.weight, self.y / self.weight
        variance = max(0.0, self.xx / self.weight - x * x)
        covariance = self.xy / self.weight - x * y
        least, most = SLOPE_RANGE
        return min(most, max(least, (covariance + spread**2) / (variance + spread**2)))

    def ratio(self) -> float | None:
        """Mean y per mean x; None before any x."""
        return self.y / self.x if self.x > 0 else None
