"""Entry point: open the terminal over a site."""

from pathlib import Path

from wattline.client import Client
from wattline_tui.app import TopApp
from wattline_tui.client import ClientFeed
from wattline_tui.settings import FILE, read_settings


def run_top(client: Client) -> int:
    """Show the site until the user quits; closes the client. Returns the exit status. Raises
    SettingsError."""
    app = TopApp(ClientFeed(client), read_settings(Path.home() / FILE))
    app.run()
    return app.return_code or 0
