"""What a request goes through is a coroutine: FastAPI calls anything else in a thread."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from board import api, health, metrics, page, stream

ROUTES = [
    route
    for module in (api, health, metrics, page, stream)
    for route in module.router.routes
    if isinstance(route, APIRoute)
]


def calls(dependant: Dependant) -> Iterator[Any]:
    """Return what is called for a request."""
    yield dependant.call
    for further in dependant.dependencies:
        yield from calls(further)


def direct(call: Any) -> bool:
    """Whether FastAPI calls it where it is."""
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.path}-{route.name}")
def test_nothing_is_called_in_a_thread(route: APIRoute) -> None:
    for call in calls(route.dependant):
        assert direct(call) or direct(call.__call__), call
