"""Themes: all colours of the terminal. Stylesheets name variables only."""

from textual.theme import Theme

from wattline_protocol.lists.column import unknown

NO_COLOUR = "none"
"""Differences are then in bold, reversed and underlined text."""

_VIRIDIS = {
    "heat-1": "#3b528b",
    "heat-2": "#21918c",
    "heat-3": "#5ec962",
    "heat-4": "#fde725",
    "heat-1-text": "#ffffff",
    "heat-2-text": "#ffffff",
    "heat-3-text": "#101010",
    "heat-4-text": "#101010",
}
"""Ever brighter, so that its order is seen without colours: https://bids.github.io/colormap."""

_TRAFFIC = {
    "heat-1": "#1f4e6b",
    "heat-2": "#2e7d5b",
    "heat-3": "#b8860b",
    "heat-4": "#c0392b",
    "heat-1-text": "#e8f1f5",
    "heat-2-text": "#eef7f0",
    "heat-3-text": "#1a1a1a",
    "heat-4-text": "#ffffff",
}

_DARK = Theme(
    "dark",
    primary="#bb9af7",
    secondary="#7aa2f7",
    warning="#e0af68",
    error="#f7768e",
    success="#9ece6a",
    accent="#ff9e64",
    foreground="#a9b1d6",
    background="#1a1b26",
    surface="#24283b",
    panel="#414868",
    variables=_TRAFFIC,
)
_LIGHT = Theme(
    "light",
    primary="#004578",
    secondary="#0178d4",
    warning="#9a6700",
    error="#ba3c5b",
    success="#2d7a3e",
    accent="#a2420a",
    foreground="#1f2328",
    background="#f5f5f5",
    surface="#ececec",
    panel="#d8d8d8",
    dark=False,
    variables=_TRAFFIC,
)
_COLOUR_BLIND = Theme(
    "colour-blind",
    primary="#56b4e9",
    secondary="#cc79a7",
    warning="#f0e442",
    error="#d55e00",
    success="#009e73",
    accent="#e69f00",
    foreground="#d8d8d8",
    background="#121212",
    surface="#1e1e1e",
    panel="#333333",
    variables=_VIRIDIS,
)
"""The colours of Okabe and Ito: https://jfly.uni-koeln.de/color."""

_NONE = Theme(
    NO_COLOUR,
    primary="#ffffff",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    variables=_VIRIDIS,
)

THEMES = {theme.name: theme for theme in (_DARK, _LIGHT, _COLOUR_BLIND, _NONE)}
DEFAULT = _DARK.name


def checked_theme(name: str) -> str:
    """The name. Raises ValueError with the nearest."""
    if name not in THEMES:
        raise unknown("theme", name, THEMES)
    return name
