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


def _theme(name: str, colours: str, heat: dict[str, str], *, dark: bool = True) -> Theme:
    """`colours` are the ten of `Theme` in its order, from primary to panel."""
    primary, secondary, warning, error, success, accent, text, back, surface, panel = (
        colours.split()
    )
    return Theme(
        name,
        primary,
        secondary,
        warning,
        error,
        success,
        accent,
        text,
        back,
        surface,
        panel,
        dark=dark,
        variables=heat,
    )


_DARK = _theme(
    "dark",
    "#bb9af7 #7aa2f7 #e0af68 #f7768e #9ece6a #ff9e64 #a9b1d6 #1a1b26 #24283b #414868",
    _TRAFFIC,
)
_LIGHT = _theme(
    "light",
    "#004578 #0178d4 #9a6700 #ba3c5b #2d7a3e #a2420a #1f2328 #f5f5f5 #ececec #d8d8d8",
    _TRAFFIC,
    dark=False,
)
_COLOUR_BLIND = _theme(
    "colour-blind",
    "#56b4e9 #cc79a7 #f0e442 #d55e00 #009e73 #e69f00 #d8d8d8 #121212 #1e1e1e #333333",
    _VIRIDIS,
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
