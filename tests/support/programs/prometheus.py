"""A real Prometheus server on loopback that scrapes one exporter."""

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.programs.live_scheduler import until
from support.programs.ports import free_ports

CONFIG = """
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
scrape_configs:
  - job_name: pdu
    static_configs: [{{ targets: ["{target}"] }}]
"""


def is_here() -> bool:
    return shutil.which("prometheus") is not None


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[str]:
    """Its URL, once it is ready; it scrapes http://TARGET/metrics five times a second."""
    config = directory / "prometheus.yml"
    config.write_text(CONFIG.format(target=target))
    port = free_ports()
    url = f"http://127.0.0.1:{port}"
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: _is_ready(url), "a ready Prometheus", within_s=60.0)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
