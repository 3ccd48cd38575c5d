"""The user's settings: themes and keys; what is wrong is said with what would be right."""

from pathlib import Path

import pytest

from support.core.site_views import busy_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_protocol.ids import NodeId
from wattline_protocol.wire.client_messages import Drain
from wattline_tui.app import TopApp
from wattline_tui.settings import (
    Settings,
    SettingsError,
    first_clash,
    parse_settings,
    read_settings,
)
from wattline_tui.themes import THEMES


def test_no_key_has_two_meanings() -> None:
    assert first_clash({}) == ""


def test_a_theme_and_keys_are_read(tmp_path: Path) -> None:
    file = tmp_path / "top.toml"
    assert read_settings(file) == Settings()
    file.write_text('theme = "light"\n[keys]\ndrain = "ctrl+d,f4"\nfilter = "ctrl+f"\n')
    assert read_settings(file) == Settings("light", {"drain": "ctrl+d,f4", "filter": "ctrl+f"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('theme = "ligt"', "no theme 'ligt'; the nearest is light"),
        ("theme = 3", "expected theme = "),
        ("thme = 3", "the nearest is theme"),
        ('[keys]\ndrian = "d"', "no action 'drian'; the nearest is drain"),
        ('[keys]\ndrain = "drain"', 'keys.drain: expected a key such as "d"'),
        ("[keys]\ndrain = 4", "expected a key"),
        ('[keys]\ndrain = "q"', "q has two meanings: quit and drain"),
        ("keys = [", "Invalid"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_settings(text)
    file = tmp_path / "top.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=f"{file}: "):
        read_settings(file)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        read_settings(tmp_path)
    file = tmp_path / "top.toml"
    file.write_bytes(b"#" * 70_000)
    with pytest.raises(SettingsError, match="more than 65,536 bytes"):
        read_settings(file)


async def test_a_mapped_key_acts_and_is_shown() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed, Settings(keys={"drain": "ctrl+d,f4", "acts": "f3", "alarms": "f2"}))
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["2", "d"])
        assert "F3 act" in screen_text(app)
        await pressed(pilot, ["f3"])
        assert "Ctrl-D or F4  Drain, undrain" in screen_text(app)
        await pressed(pilot, ["escape"])
        await pressed(pilot, ["ctrl+d", "y", "enter"])
    assert feed.asked == [Drain(NodeId("gpu-01"), "from top")]


@pytest.mark.parametrize("name", THEMES)
async def test_a_theme_has_all_its_colours_or_none(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "none":
        monkeypatch.setenv("NO_COLOR", "1")
    app = TopApp(PlayedFeed(busy_site()), Settings("dark" if name == "none" else name))
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        styles = [seg.style for strip in app.screen._compositor.render_strips() for seg in strip]
    colours = {of.name for one in styles if one for of in (one.color, one.bgcolor) if of}
    assert app.theme == name
    assert (colours == {"default"}) == (name == "none")
