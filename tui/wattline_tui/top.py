"""Entry point: open the terminal over a site."""

from wattline.client import Client
from wattline_tui.app import TopApp
from wattline_tui.client import ClientFeed


def run_top(client: Client) -> int:
    """Show the site until the user quits; closes the client. Returns the exit status."""
    app = TopApp(ClientFeed(client))
    app.run()
    return app.return_code or 0
