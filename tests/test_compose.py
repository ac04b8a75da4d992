"""deploy/compose.yaml and what it mounts, as far as a machine without an engine can try it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from conftest import MODEL, ROOT
from server_process import addresses, command
from watched import program, prometheus

from vae_detect.runtime.commands.serve import serve

DEPLOY = ROOT / "deploy"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
MOUNTS = {
    target: source
    for service in SERVICES.values()
    for source, target in (mount.split(":")[:2] for mount in service.get("volumes", ()))
    if source.startswith(".")
}
"""Where what of deploy/ is seen in the containers."""


def test_docker_compose_accepts_the_file() -> None:
    version = ["docker", "compose", "version"]
    if shutil.which("docker") is None or subprocess.run(version, capture_output=True, check=False).returncode != 0:
        pytest.skip("Docker Compose is not installed (plugin docker-compose of Docker)")
    words = ["docker", "compose", "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_mounted_is_there_and_nothing_is_open_to_other_machines() -> None:
    assert SERVICES.keys() == {"detector", "simulator", "prometheus", "grafana", "mosquitto"}
    assert [source for source in MOUNTS.values() if not (DEPLOY / source).exists()] == []
    assert [port for each in SERVICES.values() for port in each.get("ports", ()) if "127.0.0.1:" not in port] == []
    images = {service["image"] for service in SERVICES.values()} - {"vae-detect"}
    assert [image for image in images if not re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", image)] == []


def test_the_detector_is_given_what_the_command_knows() -> None:
    known = {f"VAE_DETECT_SERVE_{option.opts[0].lstrip('-').replace('-', '_').upper()}" for option in serve.params}
    assert SERVICES["detector"]["environment"].keys() <= known


def test_grafana_finds_its_source_and_the_dashboards() -> None:
    folder = DEPLOY / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "vae-detect.yml").read_text())["providers"]
    assert MOUNTS["/etc/grafana/provisioning"] == "./provisioning"
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert SERVICES["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    assert len([*(DEPLOY / MOUNTS[provider["options"]["path"]]).glob("*.json")]) == 3


def test_prometheus_scrapes_what_the_simulator_posts_and_takes_the_rules(tmp_path: Path) -> None:
    check = [program("promtool"), "check", "config", str(DEPLOY / "prometheus.yml")]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    shutil.copy(DEPLOY / "rules.yml", tmp_path)
    with command("--port", "0", model=Path(f"pump={MODEL}")) as (_, said):
        (url,) = addresses(said[-1])
        config = (DEPLOY / "prometheus.yml").read_text().replace("detector:8000", url.removeprefix("http://"))
        config = config.replace("scrape_interval: 15s", "scrape_interval: 200ms\n  scrape_timeout: 200ms")
        with prometheus(tmp_path, config.replace("evaluation_interval: 1m", "evaluation_interval: 200ms")) as asked:
            simulator = simulate(url)
            try:
                wait_for(asked, 'vae_detect_rows_scored_total{job="vae-detect", model="pump"} > 20')
                wait_for(asked, 'instance_model:vae_detect_anomalies:ratio_rate5m{model="pump"} == 0')
            finally:
                os.killpg(simulator.pid, signal.SIGTERM)
                simulator.wait(timeout=10)
            groups = httpx.get(f"{asked}/api/v1/rules").json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert len(rules) > 20
            assert [rule["lastError"] for rule in rules if rule["health"] == "err"] == []


def simulate(url: str) -> subprocess.Popen[bytes]:
    """The command of the simulator's container, 500 times as fast, with the files where they are here."""
    service = SERVICES["simulator"]
    said = service["command"][0].replace("$$", "$").replace("--live", "--live --speed 500")
    for target, source in MOUNTS.items():
        said = said.replace(target, str(DEPLOY / source))
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "SCORE_URL": service["environment"]["SCORE_URL"].replace("http://detector:8000", url),
    }
    return subprocess.Popen([*service["entrypoint"], said], env=env, start_new_session=True)


def wait_for(url: str, query: str) -> None:
    deadline = time.monotonic() + 20
    while not httpx.get(f"{url}/api/v1/query", params={"query": query}).json()["data"]["result"]:
        assert time.monotonic() < deadline, query
        time.sleep(0.1)


def test_a_row_that_is_not_taken_is_said_and_the_next_one_tried() -> None:
    words = [sys.executable, str(DEPLOY / "post_rows.py"), "http://127.0.0.1:1/score"]
    done = subprocess.run(words, input="a,b\n1,2\n3,4\n", capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0
    assert done.stderr.count("a row was not taken: ") == 2
