"""A release that is slower than it need be is told so, and serves all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.load import Play, Source
from tests.stack import said

LOGS = """
import logging

logging.getLogger("uvicorn.access").handlers = [logging.StreamHandler()]
"""


@pytest.fixture
def logging(source: Source) -> Iterator[None]:
    """Have the application log each request by itself, as one that configures logging does."""
    with source.fault(
        'app = FastAPI(title="Tally", lifespan=lifespan)',
        LOGS + 'app = FastAPI(title="Tally", lifespan=lifespan)',
    ):
        yield


def test_what_there_is_to_say_of_the_one_that_is_as_it_should_be(
    deploy: Play, source: Source
) -> None:
    source.change()
    run = deploy()
    assert run.returncode == 0, run.stdout[-4000:]
    assert "logs each request" not in said(run)


@pytest.mark.usefixtures("logging")
def test_whoever_logs_each_request_twice_is_told(deploy: Play) -> None:
    run = deploy()
    assert run.returncode == 0, run.stdout[-4000:]
    assert "deploy13: tally: its server logs each request, which Nginx has logged already" in said(
        run
    )
