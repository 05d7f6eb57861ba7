"""The API over HTTP, on a real PostgreSQL, with the application's own rights."""

from datetime import datetime

import pytest
from conftest import Server

pytestmark = pytest.mark.postgres


def test_start_and_finish(board: Server) -> None:
    response = board.client.post(
        "/api/deployments",
        json={"app": "board", "host": "app1", "release": "0a1b", "version": "v1"},
    )
    assert response.status_code == 201
    started = response.json()
    assert started["status"] == "running"
    assert started["finished_at"] is None
    assert datetime.fromisoformat(started["started_at"]).tzinfo
    location = response.headers["Location"]
    assert location == f"/api/deployments/{started['id']}"

    response = board.client.patch(location, json={"status": "succeeded", "message": "0 of 9 lost"})
    assert response.status_code == 200
    finished = response.json()
    assert finished == started | {
        "status": "succeeded",
        "message": "0 of 9 lost",
        "finished_at": finished["finished_at"],
    }
    assert finished["finished_at"] >= started["started_at"]
    assert board.client.get(location).json() == finished


def test_given_times_are_kept(board: Server) -> None:
    started = board.start_deployment(started_at="2026-01-01T01:00:00+01:00")
    assert started["started_at"] == "2026-01-01T00:00:00Z"
    end = {"status": "failed", "finished_at": "2026-01-01T00:01:00Z"}
    finished = board.client.patch(f"/api/deployments/{started['id']}", json=end).json()
    assert finished["finished_at"] == "2026-01-01T00:01:00Z"


def test_a_clock_ahead_of_the_database_does_no_harm(board: Server) -> None:
    started = board.start_deployment(started_at="2999-01-01T00:00:00Z")
    response = board.client.patch(f"/api/deployments/{started['id']}", json={"status": "failed"})
    assert response.json()["finished_at"] == "2999-01-01T00:00:00Z"


def test_an_end_before_the_start_is_refused(board: Server) -> None:
    started = board.start_deployment()
    end = {"status": "failed", "finished_at": "2020-01-01T00:00:00Z"}
    response = board.client.patch(f"/api/deployments/{started['id']}", json=end)
    assert response.status_code == 422
    assert "finished_after_started" in response.json()["detail"]


@pytest.mark.parametrize(
    ("first", "then", "status"),
    [
        ("succeeded", "succeeded", 200),  # said twice, because the first answer got lost
        ("succeeded", "rolled_back", 200),
        ("succeeded", "failed", 409),
        ("failed", "succeeded", 409),
        ("rolled_back", "succeeded", 409),
    ],
)
def test_an_end_is_final_but_for_a_rollback(
    board: Server, first: str, then: str, status: int
) -> None:
    path = f"/api/deployments/{board.start_deployment()['id']}"
    before = board.client.patch(path, json={"status": first}).json()
    response = board.client.patch(path, json={"status": then})
    assert response.status_code == status
    after = board.client.get(path).json()
    assert after == before | {"status": then if status == 200 else first}


def test_unknown_deployment(board: Server) -> None:
    for response in (
        board.client.get("/api/deployments/99"),
        board.client.patch("/api/deployments/99", json={"status": "failed"}),
    ):
        assert response.status_code == 404
        assert response.headers["Content-Type"] == "application/problem+json"


def test_a_refused_write_changes_nothing(board: Server) -> None:
    started = board.start_deployment()
    path = f"/api/deployments/{started['id']}"
    response = board.client.patch(
        path, json={"status": "failed"}, headers={"Authorization": "Bearer wrong"}
    )
    assert response.status_code == 401
    assert board.client.get(path).json() == started


def test_pages_hold_each_deployment_once(board: Server) -> None:
    # All started in the same moment: only the id orders them.
    same = "2026-01-01T00:00:00Z"
    ids = [board.start_deployment(started_at=same)["id"] for _ in range(7)]
    seen: list[int] = []
    before: int | None = None
    sizes = []
    while True:
        parameters = {"limit": 3} | ({"before": before} if before else {})
        page = board.client.get("/api/deployments", params=parameters).json()
        seen += [item["id"] for item in page["items"]]
        sizes.append(len(page["items"]))
        before = page["next"]
        if before is None:
            break
        board.start_deployment()  # meanwhile the log grows, which must not shift the pages
    assert seen == ids[::-1]
    assert sizes == [3, 3, 1]


def test_a_full_last_page_has_no_next(board: Server) -> None:
    for _ in range(3):
        board.start_deployment()
    page = board.client.get("/api/deployments?limit=3").json()
    assert (len(page["items"]), page["next"]) == (3, None)


def test_filters(board: Server) -> None:
    wanted = {}
    for app in ("board", "search"):
        for host in ("app1", "app2"):
            wanted[app, host] = board.start_deployment(app=app, host=host)["id"]
    for query, ids in [
        ("app=board", [wanted["board", "app2"], wanted["board", "app1"]]),
        ("host=app1", [wanted["search", "app1"], wanted["board", "app1"]]),
        ("app=search&host=app2", [wanted["search", "app2"]]),
        ("app=x", []),
    ]:
        page = board.client.get(f"/api/deployments?{query}").json()
        assert [item["id"] for item in page["items"]] == ids, query


def test_what_looks_like_sql_is_only_text(board: Server) -> None:
    text = "'; DROP TABLE deployment; -- %s %(app)s"
    path = f"/api/deployments/{board.start_deployment(version=text)['id']}"
    board.client.patch(path, json={"status": "failed", "message": text}).raise_for_status()
    stored = board.client.get(path).json()
    assert (stored["version"], stored["message"]) == (text, text)


def test_page_lists_the_log(board: Server) -> None:
    board.start_deployment(version="v1 <b>")
    response = board.client.get("/")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "v1 &lt;b&gt;" in response.text
    assert "<code>r1</code>" in response.text
