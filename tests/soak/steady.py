"""Minutes of ordinary work, a tenth of it bad: `make soak`, which takes SOAK_SECONDS. The suite leaves it out."""

from __future__ import annotations

import os
import signal
from statistics import median

import httpx
from conftest import parse
from server_process import addresses, command
from soak_load import Load, Taken

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
PER_SECOND = 200
MOST_MB = 8.0
"""That the memory may grow after it has warmed up."""


def test_nothing_is_wrong_and_nothing_grows() -> None:
    with command("--port", "0") as (running, said):
        port = int(addresses(said[-1])[0].rpartition(":")[2])
        load, taken = Load(port, PER_SECOND, SECONDS), list[Taken]()
        load.run(lambda second: taken.append(Taken.of(running.pid, second)))
        found = parse(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
        errors = running.communicate()[1]
    warm = [each for each in taken if each.second >= min(60, SECONDS / 3)]
    first, last = warm[: len(warm) // 5], warm[-len(warm) // 5 :]
    growth = median(each.rss_mb for each in last) - median(each.rss_mb for each in first)
    early, late = load.percentile(0, 0.99), load.percentile(-1, 0.99)
    print(  # noqa: T201  # what `make soak` is run for
        f"\n{load.sent} requests in {SECONDS:.0f} s, {load.sent / SECONDS:.0f} a second, {load.late} sent late; "
        f"statuses {dict(sorted(load.statuses.items()))}; wrong {dict(load.wrong)}\n"
        f"memory {', '.join(f'{each.rss_mb:.1f}' for each in taken[:: max(1, len(taken) // 10)])} MB, "
        f"growth {growth:+.2f} MB after warm-up; "
        f"descriptors {min(e.descriptors for e in warm)} to {max(e.descriptors for e in warm)}, "
        f"threads {min(e.threads for e in warm)} to {max(e.threads for e in warm)}\n"
        f"p50 {load.percentile(0, 0.5) * 1e3:.2f} then {load.percentile(-1, 0.5) * 1e3:.2f} ms, "
        f"p99 {early * 1e3:.2f} then {late * 1e3:.2f} ms"
    )
    assert dict(load.wrong) == {}
    assert errors == ""
    assert load.sent > 0.95 * PER_SECOND * SECONDS
    assert growth < MOST_MB
    assert last[-1].descriptors <= first[0].descriptors + 2
    assert last[-1].threads <= first[0].threads
    assert late <= 2 * max(early, 0.02)  # a machine with other work has its own ups and downs
    counted = {
        what: found[f"vae_detect_rows_{what}_total[('model', 'vae')]"] for what in ("received", "scored", "refused")
    }
    flagged = sum(value for name, value in found.items() if name.startswith("vae_detect_rows_flagged_total"))
    assert counted["received"] == load.sent_rows == counted["scored"] + counted["refused"] + flagged
