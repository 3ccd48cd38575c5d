"""Linear fit of pairs by least squares with exponential forgetting; pure."""

from dataclasses import dataclass

from wattline_protocol.ids import Instant

HALF_LIFE_S = 600.0
SLOPE_RANGE = (0.0, 1.5)


@dataclass(slots=True)
class LeastSquares:
    """Weighted sums; a pair has half its weight after `half_life_s`."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    at: Instant | None = None
    half_life_s: float = HALF_LIFE_S

    def add(self, x: float, y: float, at: Instant) -> None:
        """Add a pair; times must not decrease."""
        decay = 1.0 if self.at is None else 0.5 ** ((at - self.at) / self.half_life_s)
        self.at = at
        self.weight = self.weight * decay + 1.0
        self.x, self.y = self.x * decay + x, self.y * decay + y
        self.xx, self.xy = self.xx * decay + x * x, self.xy * decay + x * y

    @property
    def means(self) -> tuple[float, float]:
        """Mean x and mean y; 0 before any pair."""
        weight = self.weight or 1.0
        return self.x / weight, self.y / weight

    def slope(
        self, spread: float, prior: float = 1.0, bounds: tuple[float, float] = SLOPE_RANGE
    ) -> float:
        """y per x, pulled towards `prior` as by pairs with that spread of x (ridge)."""
        if self.weight == 0.0:
            return prior
        x, y = self.means
        variance = max(0.0, self.xx / self.weight - x * x)
        covariance = self.xy / self.weight - x * y
        least, most = bounds
        return min(most, max(least, (covariance + prior * spread**2) / (variance + spread**2)))

    def ratio(self) -> float | None:
        """Mean y per mean x; None before any x."""
        return self.y / self.x if self.x > 0 else None
