"""A flood of POSTs is counted over all runs of h2load, and Nginx is changed where it is meant to be."""

from __future__ import annotations

import pytest
from tests import flood

from .test_h2load import SAID


def test_runs_that_are_over_are_counted() -> None:
    assert flood.came("") == flood.Came(0, 0)
    unfinished = SAID[: SAID.index("finished in")]
    assert flood.came(unfinished) == flood.Came(0, 0)
    # 46 with another status, one errored, two without an answer in time.
    assert flood.came(SAID + SAID + unfinished) == flood.Came(2 * 12349, 2 * 49)


def test_the_connections_of_upstreams_are_kept_as_nginx_would() -> None:
    site = "upstream a {\n    keepalive 32;\n    keepalive_time 1s;\n    keepalive_timeout 1s;\n}\n"
    assert flood.ordinary(site + site) == 2 * (
        "upstream a {\n    keepalive 32;\n    keepalive_time 1h;\n    keepalive_timeout 60s;\n}\n"
    )
    with pytest.raises(AssertionError):
        flood.ordinary("upstream a {\n    keepalive 32;\n}\n")
