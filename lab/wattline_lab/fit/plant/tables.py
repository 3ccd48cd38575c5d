"""The fitted constants as the tables of docs/facility.md."""

from wattline_sim.facility.plant.constants import Fitted


def as_markdown(fitted: Fitted) -> str:
    """Quantiles against the published ones, shares, weather."""
    lines = ["| GPU power, W | p50 | p75 | p95 | p99 |", "|---|---|---|---|---|"]
    for mix in fitted.mix:
        name = mix.name.capitalize()
        lines.append(
            f"| {name}, published | " + " | ".join(f"{w:.0f}" for w in mix.published_w) + " |"
        )
        found = zip(mix.plant_w, mix.error_pct, strict=True)
        lines.append(
            f"| {name}, plant | " + " | ".join(f"{w:.0f} ({e:+.1f} %)" for w, e in found) + " |"
        )
    lines += ["", "| share of all GPUs | " + " | ".join(m.name for m in fitted.mix) + " |"]
    lines.append("|---" * (len(fitted.mix) + 1) + "|")
    for kind in fitted.mix[0].shares:
        cells = " | ".join(f"{100 * m.shares[kind]:.1f} %" for m in fitted.mix)
        lines.append(f"| {kind} | {cells} |")
    idle = " | ".join(f"{100 * (1 - sum(m.shares.values())):.1f} %" for m in fitted.mix)
    lines.append(f"| idle | {idle} |")
    lines += ["", "| outside temperature | highest | RMSE of the fit | largest error |"]
    lines.append("|---|---|---|---|")
    for weather in fitted.weather:
        errors = f"{weather.rmse_c:.1f} °C | {weather.max_error_c:.1f} °C"
        lines.append(f"| {weather.name} | {weather.max_c:.1f} °C | {errors} |")
    return "\n".join(lines)
