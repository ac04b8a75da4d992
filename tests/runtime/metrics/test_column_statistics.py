import math

import numpy as np
import pytest

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.metrics.column_statistics import ColumnStatistics, Contributions, grouped

FLOW = Column("flow", "", 10.0, 2.0)
SPEED = Column("speed", "", 100.0, 5.0)


def fed(statistics: ColumnStatistics, *rows: list[float]) -> ColumnStatistics:
    statistics.add(np.array(rows, np.float32))
    return statistics


def test_columns_begin_as_training_left_them() -> None:
    statistics = ColumnStatistics([FLOW, SPEED], 100)
    assert statistics.shift == {"flow": 0.0, "speed": 0.0}
    assert statistics.spread == {"flow": 1.0, "speed": 1.0}


def test_shift_and_spread_are_in_units_of_training() -> None:
    # Twice the memory of 50 rows: training counts e^-2 of all.
    statistics = fed(ColumnStatistics([FLOW], 50), *([14.0], [12.0]) * 50)
    old = math.exp(-2)
    mean, square = (1 - old) * 1.5, (1 - old) * (4 + 1) / 2 + old
    assert statistics.shift["flow"] == pytest.approx(mean)
    assert statistics.spread["flow"] == pytest.approx(math.sqrt(square - mean**2))


def test_how_rows_are_cut_changes_little() -> None:
    rows = [[10 + 4 * math.sin(row)] for row in range(400)]
    whole, cut = ColumnStatistics([FLOW], 1000), ColumnStatistics([FLOW], 1000)
    fed(whole, *rows)
    for row in rows:
        fed(cut, row)
    assert cut.spread["flow"] == pytest.approx(whole.spread["flow"], rel=0.01)


def test_missing_cells_are_passed_over() -> None:
    statistics = fed(ColumnStatistics([FLOW, SPEED], 10), *([math.nan, 110.0],) * 1000)
    assert statistics.shift == {"flow": 0.0, "speed": pytest.approx(2.0)}


def test_one_absurd_reading_does_not_hide_the_rest() -> None:
    statistics = fed(ColumnStatistics([FLOW, SPEED], 100), [3e38, 100.0])
    assert statistics.shift["flow"] == pytest.approx(100 * -math.expm1(-0.01))
    assert statistics.shift["speed"] == 0.0
    fed(statistics, *([10.0, 100.0],) * 1000)
    assert statistics.shift["flow"] == pytest.approx(0.0, abs=1e-3)
    assert statistics.spread["flow"] < 0.1


def test_a_logarithmic_column_is_measured_as_the_graph_sees_it() -> None:
    column = Column("count", "", math.log(11), 0.5, "log", 1.0)
    statistics = fed(ColumnStatistics([column], 1), *([11 * math.e - 1],) * 100)  # log(1 + x) = log(11) + 1
    assert statistics.shift["count"] == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize(
    "column", [Column("mode", "", 0, 1, "category", levels=(0, 1)), Column("setting", "", 3, 0, "constant")]
)
def test_columns_without_a_mean_are_left_out(column: Column) -> None:
    assert fed(ColumnStatistics([column, SPEED], 10), [7.0, 100.0]).shift.keys() == {"speed"}


def test_of_the_rest_the_column_that_is_farthest_off_is_told() -> None:
    columns = [Column(f"c{number}", "", 0.0, 1.0) for number in range(23)]
    row = [0.0] * 20 + [1.0, -3.0, 2.0]
    statistics = fed(ColumnStatistics(columns, 1), *([row] * 200))
    assert len(statistics.shift) == 21
    assert statistics.shift["other"] == pytest.approx(-3.0)
    assert statistics.spread["other"] == pytest.approx(0.0, abs=1e-6)


def test_a_column_that_is_called_other_is_one_with_the_rest() -> None:
    assert grouped([("other", 0), *((f"c{place}", place) for place in range(1, 22))])["other"] == [0, 20, 21]


def test_contributions_are_shares_that_add_up_to_the_alarms() -> None:
    found = Contributions(["flow", "speed", "power"])
    found.add(np.array([[1, 3, 0], [0, 0, 5]], np.float32))
    assert found.totals == {"flow": 0.25, "speed": 0.75, "power": 1.0}
    windows = np.array([[[1, 0, 0], [0, 1, 2]]], np.float32)  # of one alarm, summed over its window
    found.add(windows)
    assert sum(found.totals.values()) == 3
    assert found.totals["power"] == 1.5
    found.add(np.zeros((1, 3), np.float32))  # an alarm beyond a limit may have nothing to contribute
    assert sum(found.totals.values()) == 3


def test_the_next_version_goes_on_where_this_one_was() -> None:
    found = Contributions(["flow", "speed"])
    found.add(np.array([[1, 3]], np.float32))
    assert found.going_on(["speed", "power"]).totals == {"speed": 0.75, "power": 0.0}
