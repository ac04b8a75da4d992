"""What metrics cost a service that is as busy as it can be: the time of a scrape, and how much slower it scores.

Clients ask for scores without a pause, of one row and of 256, while somebody else scrapes /metrics or does not. Both
are measured by turns and compared in pairs: a machine that is slow for a while is slow for both.

    python benchmarks/metrics.py [--pairs 15] [--seconds 2] [--every 1]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
import uvloop
from serving import ROOT, Server, free_port, load, requests, running

CONNECTIONS = 16
ACCEPT = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}


async def scraped(server: Server, every: float, took: list[float]) -> None:
    """Scrapes as Prometheus does, for ever."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=ACCEPT) as client:
        while True:
            started = time.perf_counter()
            (await client.get("/metrics")).raise_for_status()
            took.append(time.perf_counter() - started)
            await asyncio.sleep(every)


async def measured(server: Server, request: bytes, seconds: float, every: float | None, took: list[float]) -> float:
    """CPU microseconds of the server for each request, while it is scraped or not."""
    scraping = asyncio.create_task(scraped(server, every, took)) if every is not None else None
    cpu, _ = await load(server, request, CONNECTIONS, seconds)
    if scraping is not None:
        scraping.cancel()
        with suppress(asyncio.CancelledError):
            await scraping
    return cpu


def scrape_cost(server: Server, times: int = 200) -> float:
    """CPU seconds of the server for a scrape, when nobody asks for anything else."""
    before = server.cpu_s()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=ACCEPT) as client:
        for _ in range(times):
            client.get("/metrics").raise_for_status()
    return (server.cpu_s() - before) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between scrapes; Prometheus' default is 60")
    parser.add_argument("--model", type=Path, default=ROOT / "exported" / "vae.onnx")
    options = parser.parse_args()
    asked = [one for one in requests(options.model) if one.name == "vae-detect /score, JSON"]
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "vae_detect",
        "serve",
        "--model",
        str(options.model.resolve()),
        "--port",
        str(port),
    ]
    lines = []
    with running(command, port, "/readyz", str(ROOT / "src")) as server:
        cost = scrape_cost(server)
        for one in asked:
            took: list[float] = []
            ratios, costs = [], []
            for pair in range(options.pairs):
                order = (None, options.every) if pair % 2 else (options.every, None)
                found = {
                    every: uvloop.run(measured(server, one.request, options.seconds, every, took)) for every in order
                }
                ratios.append(found[options.every] / found[None])
                costs.append(found[None])
            spread = statistics.stdev(ratios) / len(ratios) ** 0.5
            lines.append(
                f"| {one.rows} | {statistics.median(costs):.0f} | {statistics.mean(ratios) - 1:+.1%} +- {spread:.1%} "
                f"| {statistics.median(took) * 1e3:.1f} | {max(took) * 1e3:.1f} |"
            )
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"prometheus-client {version('prometheus-client')}, numpy {np.__version__}; {CONNECTIONS} connections, "
        f"a scrape every {options.every:g} s, {options.pairs} pairs of {options.seconds:g} s\n"
    )
    print("| rows | CPU us a request | with scrapes | scrape: ms, median | longest |\n|---|---|---|---|---|")
    print("\n".join(lines))
    share = cost / options.every
    print(f"\nA scrape takes {cost * 1e3:.1f} ms of CPU time: {share:.2%} of a core every {options.every:g} s")


if __name__ == "__main__":
    main()
