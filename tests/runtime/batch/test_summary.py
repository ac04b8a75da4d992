"""The last line of a run."""

from __future__ import annotations

from collections import Counter

import pytest

from vae_detect.runtime.batch.summary import Summary


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (Summary("rows", "scored", 0), "0 rows: 0 scored, 0 anomalies"),
        (Summary("rows", "scored", 3, Counter(ok=200)), "200 rows: 200 scored, 3 anomalies (1.50%)"),
        (Summary("windows", "scored", 0, Counter(bad=9)), "9 rows: 0 scored, 0 anomalies, 9 bad"),
        (
            Summary("rows", "scored", 1, Counter(warming=3, ok=4, bad=1, gap=2)),
            "10 rows: 4 scored, 1 anomalies (25.00%), 3 warming, 1 bad, 2 gap",
        ),
        (
            Summary("rows", "scored", 3, Counter(ok=200), cpu_s=0.0052468),
            "200 rows: 200 scored, 3 anomalies (1.50%); 26.2 us CPU each",
        ),
        (Summary("rows", "scored", 0, Counter(bad=9), cpu_s=0.1), "9 rows: 0 scored, 0 anomalies, 9 bad"),
        (Summary("images", "encoded", None, Counter(bad=1, ok=2)), "3 images: 2 encoded, 1 bad"),
    ],
)
def test_the_summary_in_a_line(summary: Summary, text: str) -> None:
    assert summary.describe() == text


def test_anomalies_are_counted_where_verdicts_are_given() -> None:
    scored, encoded = Summary("rows", "scored", anomalies=0), Summary("rows", "encoded")
    for summary in (scored, encoded):
        summary.add(["ok", "bad"], 1)
        summary.add(["ok"], 1)
    assert (scored.by_status, scored.anomalies) == (Counter(ok=2, bad=1), 2)
    assert (encoded.by_status, encoded.anomalies) == (Counter(ok=2, bad=1), None)
