from vae_detect.runtime.monitoring.panels import Panel, Place, Query, places, quantiles


def panel(width: int, height: int) -> Panel:
    return Panel(title="x", description="", kind="lines", unit="number", queries=(), width=width, height=height)


def test_panels_flow_from_left_to_right_and_a_line_is_as_high_as_its_highest() -> None:
    found, below = places((panel(10, 4), panel(14, 6), panel(24, 3), panel(8, 2)), 5)
    assert found == [Place(0, 5, 10, 4), Place(10, 5, 14, 6), Place(0, 11, 24, 3), Place(0, 14, 8, 2)]
    assert below == 16


def test_a_mark_stands_for_the_matchers_of_what_is_chosen() -> None:
    query = Query(expr='a{@service, code!="200"} / b{@model}', legend="x")
    assert query.promql == (
        'a{job=~"$job", instance=~"$instance", code!="200"} / b{job=~"$job", instance=~"$instance", model=~"$model"}'
    )


def test_quantiles_are_of_the_rates_of_buckets() -> None:
    (query,) = quantiles("a_seconds", {0.9: "{{route}}"}, by=", route", of="@service")
    assert query == Query(
        expr="histogram_quantile(0.9, sum by (le, route) (rate(a_seconds_bucket{@service}[$__rate_interval])))",
        legend="{{route}}",
    )
