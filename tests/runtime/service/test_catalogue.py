"""The table of endpoints beside the routes of the application."""

from __future__ import annotations

import re

from conftest import Client
from starlette.routing import Match, Route

from vae_detect.runtime.service.catalogue import ENDPOINTS
from vae_detect.runtime.service.operations import _MODEL


def test_the_table_holds_every_route_and_nothing_else(client: Client) -> None:
    routes = [route for route in client.app._rest.routes if isinstance(route, Route)]
    reached = set[tuple[str, str]]()
    for endpoint in ENDPOINTS:
        path = endpoint.path.format(name="pump", version="1", file="page.js", id=1, number=1)
        scope = {"type": "http", "method": endpoint.method, "path": path}
        route = next(each for each in routes if each.matches(scope)[0] == Match.FULL)
        reached.add((endpoint.method, route.path))
    told = {(method, route.path) for route in routes for method in route.methods or ()}
    only_refuses = {("GET", "/v2/models/{rest:path}/infer")}
    assert reached == {each for each in told if each[0] != "HEAD"} - only_refuses
    assert len({endpoint.called for endpoint in ENDPOINTS}) == len(ENDPOINTS)


def test_the_table_holds_all_that_is_asked_of_a_model() -> None:
    (words,) = re.findall(r"<what>([\w|]+)\)", _MODEL.pattern)
    told = {endpoint.path.rpartition("/")[2] for endpoint in ENDPOINTS if endpoint.path.startswith("/v2/models/{name}")}
    assert told == {*words.split("|"), "infer", "{name}", "{version}"}
