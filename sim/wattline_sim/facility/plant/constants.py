"""The fitted constants of the plant as data: the shape of constants.toml, checked when read."""

from importlib.resources import files
from typing import Final

import msgspec

from wattline_sim.facility.plant.weather import Weather


class RequestFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths (log-normal) and burstiness of a public request trace."""

    context_tokens_mean: float
    context_spread: float
    """Standard deviation of the logarithm."""
    generated_tokens_mean: float
    burst: float
    """Relative standard deviation of the rate over minutes, beyond that of a Poisson process."""
    source: str


class WeatherFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Harmonic coefficients (`weather.harmonic_basis`) and how well they fit, in °C."""

    name: str
    coefficients: tuple[float, ...]
    start_hour: float
    """Hour of the year at which the series begins."""
    rmse_c: float
    max_error_c: float
    max_c: float
    """The highest value of the series that was fitted."""
    source: str


class MixFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the GPUs of a fleet divide over kinds of work, and the power quantiles that follow."""

    name: str
    shares: dict[str, float]
    """Share of all GPUs per kind of work; what is missing to 1 is idle."""
    percentiles: tuple[float, ...]
    published_w: tuple[float, ...]
    plant_w: tuple[float, ...]
    error_pct: tuple[float, ...]
    cdf_error_max: float
    """Largest distance of the two distribution functions at the fitted points."""
    source: str


class Fitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the fit script wrote."""

    requests: RequestFit
    weather: tuple[WeatherFit, ...]
    mix: tuple[MixFit, ...]

    def mix_of(self, name: str) -> MixFit:
        """The mix of that fleet; raises KeyError with the names that exist."""
        for mix in self.mix:
            if mix.name == name:
                return mix
        raise KeyError(f"no mix {name!r}; known: {', '.join(m.name for m in self.mix)}")

    def weather_of(self, name: str) -> WeatherFit:
        """The weather of that name; raises KeyError with the names that exist."""
        for weather in self.weather:
            if weather.name == name:
                return weather
        known = ", ".join(w.name for w in self.weather)
        raise KeyError(f"no weather {name!r}; known: {known}")


def parse_constants(text: str) -> Fitted:
    """Read constants.toml. Raises msgspec.ValidationError naming the key that is wrong."""
    return msgspec.toml.decode(text, type=Fitted)


FITTED: Final[Fitted] = parse_constants(
    files(__package__).joinpath("constants.toml").read_text(encoding="utf-8")
)


def weather_of(name: str) -> Weather:
    """The fitted weather of that name, from the hour of the year at which it begins."""
    fit = FITTED.weather_of(name)
    return Weather(start_hour=fit.start_hour, coefficients=fit.coefficients)
