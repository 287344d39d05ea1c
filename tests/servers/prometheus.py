"""A Prometheus of a test's own, which scrapes what the test names, often."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.ports import free_port
from tests.servers.processes import program, running

SCRAPE_S = 1
LIMIT_S = 60.0


@dataclass
class Prometheus:
    """A running Prometheus."""

    port: int

    def get(self, path: str, **parameters: str) -> Any:
        """The ``data`` of a call of its API; fails with its own words for a query that it refuses."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that *expression* gives now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def names(self) -> set[str]:
        """The names of all metrics that it has seen."""
        return set(self.get("label/__name__/values"))

    def wait_for(self, expression: str) -> None:
        """Return once *expression* gives a series."""
        until = time.monotonic() + LIMIT_S
        while not self.query(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.2)


@contextmanager
def scraping(folder: Path, target: str, job: str = "headrace", rules: Path | None = None) -> Iterator[Prometheus]:
    """A Prometheus with its data in *folder* that scrapes *target* (``host:port``) every second."""
    found = Prometheus(free_port())
    config = folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {SCRAPE_S}s, evaluation_interval: {SCRAPE_S}s}}\n"
        f"rule_files: [{json.dumps(str(rules))}]\n"
        f"scrape_configs: [{{job_name: {job}, static_configs: [{{targets: [{json.dumps(target)}]}}]}}]\n"
    )
    command = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{found.port}",
    ]
    with running(command, folder, lambda: _is_ready(found.port)):
        yield found


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
