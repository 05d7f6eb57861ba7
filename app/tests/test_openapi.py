"""The API does what its description says, whatever it is sent (schemathesis)."""

import copy

import pytest
import schemathesis
from conftest import Cluster, Server
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from board.main import create_app

DESCRIPTION = create_app().openapi()
# Each request has a valid token: what comes without is in test_tokens.py.
OPEN = copy.deepcopy(DESCRIPTION)
for operations in OPEN["paths"].values():
    for operation in operations.values():
        operation.pop("security", None)
# A stream doesn't end; tests of its own are in test_stream.py.
schema = schemathesis.openapi.from_dict(OPEN).exclude(path="/api/stream")


def test_every_problem_is_described_as_one() -> None:
    for path, operations in DESCRIPTION["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"], (path, method)
            if "security" in operation:
                assert "401" in operation["responses"], (path, method)
    assert "HTTPValidationError" not in str(DESCRIPTION)


def test_the_stream_is_all_that_is_left_out() -> None:
    left = {operation.ok().path for operation in schema.get_all_operations()}
    assert set(DESCRIPTION["paths"]) - left == {"/api/stream"}
    assert isinstance(schema, BaseSchema)


@pytest.mark.postgres
@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_nothing_breaks_it(case: Case, some: Server) -> None:
    given = case.as_transport_kwargs(base_url="http://board")
    response = some.client.request(
        given["method"],
        given["url"],
        headers=given["headers"],
        params=given.get("params"),
        json=given.get("json"),
        content=given.get("data"),
    )
    # Some rules are between fields, or about the time in a text: a description can't say these.
    unsaid = [positive_data_acceptance] if case.method in ("PATCH", "POST") else []
    case.validate_response(response, excluded_checks=unsaid)


@pytest.fixture(scope="module")
def some(cluster: Cluster, shared_server: Server) -> Server:
    """A running board whose log isn't empty."""
    cluster.execute("TRUNCATE deployment, detail, token RESTART IDENTITY")
    shared_server.wait_until_ready()
    for status in ("succeeded", "failed", None):
        path = f"/api/deployments/{shared_server.start_deployment()['id']}"
        if status:
            shared_server.client.patch(path, json={"status": status}).raise_for_status()
    shared_server.client.put(f"{path}/log", content=b"a log").raise_for_status()
    return shared_server
