"""The whole product on a simulated pump station: record, train, score, serve, watch. Ends by itself in about a minute.

    make demo        or, with vae-detect[dev] installed,        python examples/demo.py

Every command is printed before it runs, so that it can be typed. What it makes stays in demo/.
"""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

FOLDER = Path("demo")
URL = "http://127.0.0.1:8018"
FAULTS = {
    "leak": "3h+30m",
    "cavitation": "7h+30m",
    "electrical": "11h+30m",
    "blocked-filter": "15h+1h",
    "bearing-wear": "22h+2h",  # last: the bearing stays hot for an hour after it
}


def tell(text: str) -> None:
    print(f"\n# {text}", flush=True)


def command(line: str) -> list[str]:
    """The words of a command line, shown first."""
    print(f"$ {line}", flush=True)
    return line.split()


def run(line: str) -> None:
    subprocess.run(command(line), check=True)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def seconds(duration: str) -> int:
    return int(duration[:-1]) * {"m": 60, "h": 3600}[duration[-1]]


def compare_with_truth(period_s: int) -> None:
    """Prints, fault by fault, when it began and when the detector raised its first alarm."""
    alarms = [row["is_anomaly"] == "1" for row in read_csv(FOLDER / "scores.csv")]
    labels = [row["label"] == "1" for row in read_csv(FOLDER / "faulty.csv")]
    print(f"  {'fault':16} {'began at row':>12} {'first alarm after':>18}")
    for name, span in FAULTS.items():
        start, length = (seconds(part) // period_s for part in span.split("+"))
        delay = next((row for row in range(length) if alarms[start + row]), None)
        found = "not found" if delay is None else f"{delay * period_s // 60} min"
        print(f"  {name:16} {start:12} {found:>18}")
    false = sum(alarm and not label for alarm, label in zip(alarms, labels, strict=True))
    print(f"  {false} of {labels.count(False)} normal rows raised an alarm")


def metrics() -> dict[str, float]:
    """The service's counters of rows, by name and labels."""
    with urllib.request.urlopen(f"{URL}/metrics", timeout=5) as reply:
        lines = reply.read().decode().splitlines()
    wanted = ("vae_detect_rows_scored_total", "vae_detect_anomalies_total")
    series = dict(line.rsplit(maxsplit=1) for line in lines if line.partition("{")[0] in wanted)
    return {name: float(value) for name, value in series.items()}


def post(row: list[float]) -> dict[str, object]:
    """The service's answer to one row."""
    with urllib.request.urlopen(f"{URL}/score?explain=1", data=json.dumps(row).encode(), timeout=5) as reply:
        result: dict[str, object] = json.load(reply)["results"][0]
    return result


def wait_until_ready(service: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if service.poll() is not None:
            raise SystemExit(f"the service ended with exit code {service.returncode}")
        if subprocess.run(["vae-detect", "health", "--url", URL], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise SystemExit("the service did not become ready")


def stream_live_rows() -> None:
    """Posts live rows as they come, and prints a line whenever the verdict changes."""
    line = "vae-detect simulate --duration 1h --period 30s --seed 3 --fault leak@20m+20m --live --speed 300"
    live = subprocess.Popen(command(line), stdout=subprocess.PIPE, text=True)
    assert live.stdout is not None
    next(live.stdout)
    was_anomaly = False
    for text in live.stdout:
        timestamp, *cells = text.strip().split(",")
        result = post([float(cell) for cell in cells])
        if result["is_anomaly"] != was_anomaly:
            was_anomaly = bool(result["is_anomaly"])
            print(f"  {timestamp}  {describe(result)}", flush=True)
    live.wait()


def describe(result: dict[str, object]) -> str:
    if not result["is_anomaly"]:
        return "normal again"
    contributions = result["contributions"]
    assert isinstance(contributions, list)
    reasons = [f"{one['column']} {one['actual']:.4g} (expected {one['expected']:.4g})" for one in contributions[:2]]
    return f"ANOMALY, severity {result['severity']:.1f}: {', '.join(reasons)}"


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    tell("Two weeks of normal operation of a pump station, a row every two minutes.")
    run(f"vae-detect simulate --duration 14d --period 2m --seed 1 --out {FOLDER}/normal.csv")
    tell("Learn what normal looks like; at most one false alarm in a hundred rows is promised.")
    # Each row on its own, not in windows: the service is asked about one at a time below.
    run(f"vae-detect train {FOLDER}/normal.csv --kind rows --out {FOLDER}/pump.onnx --far 0.01")
    tell("Another day, with five faults, and the truth in a column of its own.")
    faults = " ".join(f"--fault {name}@{span}" for name, span in FAULTS.items())
    run(f"vae-detect simulate --duration 1d --period 2m --seed 2 --labels {faults} --out {FOLDER}/faulty.csv")
    run(f"vae-detect score {FOLDER}/faulty.csv --model {FOLDER}/pump.onnx --out {FOLDER}/scores.csv")
    tell("What it found, against the truth.")
    compare_with_truth(period_s=120)
    run(f"vae-detect evaluate {FOLDER}/faulty.csv --labels label --model {FOLDER}/pump.onnx")
    tell("Serve the model and stream live rows at it: an hour in twelve seconds, with a burst pipe after 20 minutes.")
    port = URL.rpartition(":")[2]
    serving = f"vae-detect serve --model {FOLDER}/pump.onnx --port {port} --alarm 2/3 --state {FOLDER}/state"
    service = subprocess.Popen(command(serving))
    try:
        wait_until_ready(service)
        before = metrics()
        stream_live_rows()
        tell("The metrics that Prometheus scrapes have moved.")
        print(f"$ curl -s {URL}/metrics")
        for name, value in metrics().items():
            print(f"  {name} {before[name]:g} -> {value:g}")
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(timeout=15)
    tell(f"The service stopped cleanly (exit code {code}). Two alarms in three rows were an event; these it recorded.")
    run(f"vae-detect events --state {FOLDER}/state")
    tell(f"Say what it was, `vae-detect events --state {FOLDER}/state --label 1 fault`, and `finetune` can learn it.")
    print(f"# The model and the recordings are in {FOLDER}/.")
    tell(f"To see it live, start the service again, open {URL}/ in a browser, and send it rows as above:")
    print(f"$ {serving}")
    sys.exit(code)


if __name__ == "__main__":
    main()
