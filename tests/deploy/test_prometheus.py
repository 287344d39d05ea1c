"""Do the rules and the dashboard hold against a real Prometheus that scrapes a real server?"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from tests.end_to_end.servers import Server, serving
from tests.servers.processes import program
from tests.servers.prometheus import Prometheus, scraping

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "headrace.json").read_text())
PANELS = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in BOARD["panels"]
    for target in panel.get("targets", [])
}
GROUPS = yaml.safe_load(ALERTS.read_text())["groups"]
RULES: dict[str, str] = {rule["alert"]: rule["expr"] for group in GROUPS for rule in group["rules"]}
VARIABLES = {"$__rate_interval": "10s", "$pipeline": ".*", "$version": ".*"}
FILES = {
    "config/main.yaml": "telemetry: {price_per_device_s: {cpu: 0.25}}\n",
    "config/pipelines/animals.yaml": """\
model:
  name: mirror
  type: echo
  input_spec: [{name: probabilities, shape: [-1, 2], dtype: float32}]
  output_spec: [{name: probabilities, shape: [-1, 2], dtype: float32}]
postprocessing: [{name: labels.top_k, params: {k: 1, labels: [cat, dog]}}]
cache: {ttl_s: 60}
""",
    "config/streams/zoo.yaml": "{pipeline: animals, window: {max_events: 1, max_ms: 10}}",
}


@pytest.mark.parametrize(
    "arguments",
    [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]],
    ids=" ".join,
)
def test_promtool_agrees(arguments: list[str]) -> None:
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, cwd=ALERTS.parent, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen a server answer, fail, find in its cache, and run a stream."""
    workspace, folder = tmp_path_factory.mktemp("workspace"), tmp_path_factory.mktemp("prometheus")
    for place, text in FILES.items():
        (workspace / place).parent.mkdir(parents=True, exist_ok=True)
        (workspace / place).write_text(text)
    with serving(workspace) as server, scraping(folder, f"127.0.0.1:{server.port}", rules=ALERTS) as prometheus:
        ask(server)
        prometheus.wait_for('rate(headrace_requests_total{mode="stream"}[10s]) > -1')
        ask(server)
        prometheus.wait_for('headrace_cache_total{state="hit"} > 1')
        prometheus.wait_for("rate(headrace_cost_total[10s]) > 0")
        yield prometheus


def ask(server: Server) -> None:
    rows = [{"probabilities": [0.25, 0.75]}, {"probabilities": [0.25, 0.75]}]
    for row in rows:
        answer = httpx2.post(f"{server.url}/api/v1/models/animals/predict", json={"inputs": row}, timeout=10)
        assert answer.status_code == 200, answer.text
    bad = {"inputs": {"probabilities": ["a", "b"]}}
    assert httpx2.post(f"{server.url}/api/v1/models/animals/predict", json=bad, timeout=10).status_code == 422
    accepted = httpx2.post(f"{server.url}/api/v1/streams/zoo/events", json=rows[0], timeout=10)
    assert accepted.status_code == 202


@pytest.mark.slow
@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_shows_something(seen: Prometheus, panel: str) -> None:
    expression = PANELS[panel]
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)

    assert "$" not in expression
    assert names_in(expression) <= seen.names()
    assert seen.query(expression), expression


@pytest.mark.slow
@pytest.mark.parametrize("alert", RULES)
def test_every_alert_asks_for_what_there_is_and_is_silent_when_all_is_well(seen: Prometheus, alert: str) -> None:
    assert names_in(RULES[alert]) <= seen.names()
    assert seen.query(RULES[alert]) == []


@pytest.mark.slow
def test_every_rule_is_evaluated_without_an_error(seen: Prometheus) -> None:
    seen.wait_for("prometheus_build_info or up")  # one round of scrapes is one of rules
    rules = [rule for group in seen.get("rules")["groups"] for rule in group["rules"]]

    assert {rule["name"] for rule in rules} == set(RULES)
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] == "err"} == {}


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:headrace_\w+|up)\b(?=[\[{ )]|$)", expression))


def test_the_names_in_an_expression_are_found() -> None:
    assert names_in('sum by (up_to) (rate(headrace_a_total{b="headrace_c"}[5m])) / up') == {"headrace_a_total", "up"}


def test_the_variables_of_the_dashboard_ask_for_a_metric_that_the_panels_use() -> None:
    asked = [one["query"]["query"] for one in BOARD["templating"]["list"] if one["type"] == "query"]

    assert asked and all("headrace_requests_total" in query for query in asked)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
