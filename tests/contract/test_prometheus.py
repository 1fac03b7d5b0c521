"""A real Prometheus reads a real server: names that exist, rules that load, alerts that fire."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from contract.wire import plain
from recollect.wire.bearer import token

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "recollect.json"
RULES = DEPLOY / "prometheus"
NAME = re.compile(r"\b(?:recollect|process)_[a-z_]+\b")

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="Prometheus is not installed (Debian: apt-get install prometheus)",
)


@pytest.fixture(scope="module")
def reader(server):
    """A bearer token that may read the metrics and nothing else."""
    key = server.key({"Effect": "Deny", "Action": "*", "Resource": "*"}, bearer_key=True)
    return token(key.key_id, key.secret)


@pytest.fixture(scope="module")
def metrics(server, reader):
    """The text of /metrics after a call that was answered and one that was not."""
    server.client().list_collections()
    plain(server, "ListCollections", {}, reader)
    request = urllib.request.Request(
        f"{server.url}/metrics", headers={"authorization": f"Bearer {reader}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def expressions():
    """Every expression of the dashboard, as (panel, expression)."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [(p["title"], target["expr"]) for p in panels for target in p["targets"]]


def sampled(metrics):
    """The names under which samples stand in an exposition."""
    return set(re.findall(r"^([a-z_]+)(?:\{| )", metrics, re.MULTILINE))


def test_every_name_of_dashboard_and_alerts_is_a_metric(metrics):
    names = sampled(metrics)
    for title, expression in expressions():
        assert set(NAME.findall(expression)) <= names, title
    alerts = re.sub(r"description:.*|summary:.*", "", (RULES / "alerts.yml").read_text("utf-8"))
    assert set(NAME.findall(alerts)) <= names


def test_every_metric_of_ours_is_on_the_dashboard(metrics):
    families = set(re.findall(r"^# TYPE (recollect_[a-z_]+) ", metrics, re.MULTILINE))
    shown = " ".join(expression for _, expression in expressions())

    assert {name for name in families if name not in shown} == set()


def test_the_alerts_of_the_page_are_the_alerts_of_the_file():
    page = (DEPLOY.parent / "docs" / "running.md").read_text("utf-8")
    alerts = re.findall(r"alert: (\w+)", (RULES / "alerts.yml").read_text("utf-8"))

    assert alerts == re.findall(r"^\| `(Recollect\w+)` \|", page, re.MULTILINE)


@promtool
@pytest.mark.parametrize(
    "command",
    [
        "check rules alerts.yml",
        "test rules alerts_test.yml",
        "check config --syntax-only prometheus.yml",
    ],
)
def test_promtool_finds_nothing_wrong(command):
    done = subprocess.run(
        ["promtool", *command.split()], cwd=RULES, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_a_real_prometheus_scrapes_draws_and_alerts(server, reader, metrics, tmp_path):
    port = free_port()
    configuration(tmp_path, server.url, reader)
    with (tmp_path / "log").open("wb") as log:
        prometheus = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        ask = asker(port)
        until(lambda: ask("query", 'up{job="recollect"}') and up(ask), tmp_path)
        # Two scrapes make a rate; calls go on meanwhile.
        until(lambda: drawn(ask, server), tmp_path)
        rules = ask("rules")["groups"][0]["rules"]
    finally:
        prometheus.terminate()
        prometheus.wait(20)

    assert len(rules) == 6
    assert [rule["health"] for rule in rules] == ["ok"] * 6
    assert [rule["state"] for rule in rules if rule["name"] == "RecollectDown"] == ["inactive"]


def configuration(folder, url, bearer):
    """The shipped configuration, on this server and in a hurry."""
    text = (RULES / "prometheus.yml").read_text("utf-8")
    text = text.replace("/etc/prometheus/recollect.token", f"{folder}/recollect.token")
    text = text.replace("127.0.0.1:8080", url.removeprefix("http://"))
    text = re.sub(r"interval: 15s", "interval: 1s", text)
    (folder / "prometheus.yml").write_text(text)
    (folder / "recollect.token").write_text(bearer)
    shutil.copy(RULES / "alerts.yml", folder)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def asker(port):
    def ask(kind, query=None):
        encoded = "" if query is None else "?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/v1/{kind}{encoded}", timeout=10
            ) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{query}: {error.read().decode()}") from None
        except urllib.error.URLError:
            return None

    return ask


def up(ask):
    result = ask("query", 'up{job="recollect"}')["result"]
    return [sample["value"][1] for sample in result] == ["1"]


def drawn(ask, server):
    """Whether every panel that has something to show shows it; each expression is valid."""
    server.client().list_collections()
    empty = []
    for title, expression in expressions():
        query = expression.replace("$__rate_interval", "10s").replace("$instance", ".*")
        if not ask("query", query)["result"]:
            empty.append(title)
    # Nobody searches on this server.
    return set(empty) <= {"Search, 99th percentile", "Latency of searches"}


def until(condition, folder, deadline_s=60):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, (folder / "log").read_text()[-3000:]
        time.sleep(0.3)
