"""The API over HTTP, on a real PostgreSQL, with the application's own rights."""

from datetime import datetime

import pytest
from conftest import Server

from board.deployments import Page

pytestmark = pytest.mark.postgres

NO_DETAILS = {"steps": [], "latency": []}


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
        "revision": started["revision"] + 1,
    }
    assert finished["finished_at"] >= started["started_at"]
    assert board.client.get(location).json() == finished | NO_DETAILS


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
    changed = {"status": then, "revision": before["revision"] + 1} if status == 200 else {}
    assert after == before | NO_DETAILS | changed


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
    assert board.client.get(path).json() == started | NO_DETAILS


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
        ("status=running&app=board&host=app1", [wanted["board", "app1"]]),
        ("status=succeeded", []),
        ("release=0a1b&app=search", [wanted["search", "app2"], wanted["search", "app1"]]),
        ("release=0a1c", []),
        ("app=x", []),
    ]:
        page = board.client.get(f"/api/deployments?{query}").json()
        assert [item["id"] for item in page["items"]] == ids, query


def test_pages_of_what_was_filtered(board: Server) -> None:
    wanted = []
    for number in range(6):
        for app in ("board", "search"):
            started = board.start_deployment(app=app, host=f"app{number % 2}")
            if (app, number % 2) == ("search", 1):
                wanted.append(started["id"])
    for query in ("app=search&host=app1", "app=search&host=app1&status=running"):
        first = board.client.get(f"/api/deployments?{query}&limit=2").json()
        second = board.client.get(f"/api/deployments?{query}&before={first['next']}").json()
        found = [item["id"] for item in first["items"] + second["items"]]
        assert (found, second["next"]) == (wanted[::-1], None)


STEPS = [
    {"name": "unpack", "seconds": 3.2, "status": "succeeded"},
    {"name": "start", "seconds": 1.5, "status": "failed"},
]
LATENCY = [{"at": at, "p50_ms": 2.0, "p99_ms": 9.5, "failed": 0} for at in (0.0, 1.0)]
FIGURES = {"requests": 12480, "failed": 1, "p50_ms": 2.1, "p99_ms": 9.5, "worst_ms": 31.0}


def test_steps_and_figures_come_with_the_end_or_afterwards(board: Server) -> None:
    path = f"/api/deployments/{board.start_deployment()['id']}"
    board.client.patch(path, json={"steps": STEPS[:1]}).raise_for_status()
    running = board.client.get(path).json()
    assert (running["status"], running["steps"], running["probe"]) == ("running", STEPS[:1], None)
    end = {"status": "succeeded", "steps": STEPS, "probe": FIGURES | {"latency": LATENCY}}
    finished = board.client.patch(path, json=end).json()
    assert finished["probe"] == FIGURES
    said = board.client.get(path).json()
    assert (said["steps"], said["latency"], said["probe"]) == (STEPS, LATENCY, FIGURES)
    later = {"probe": {"requests": 5, "failed": 0}}
    board.client.patch(path, json=later).raise_for_status()
    said = board.client.get(path).json()
    assert said["probe"] == dict.fromkeys(FIGURES) | later["probe"]
    assert (said["status"], said["steps"]) == ("succeeded", STEPS)
    (item,) = board.client.get("/api/deployments").json()["items"]
    assert item["probe"] == said["probe"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"status": None},
        {"finished_at": "2026-01-01T00:00:00Z"},
        {"probe": {"requests": 1, "failed": 2}},
        {"probe": {"requests": -1, "failed": 0}},
        {"probe": {"requests": 1}},
        {"steps": [{"name": "start", "seconds": "NaN"}]},
        {"steps": [{"name": "a", "seconds": 1}] * 201},
    ],
)
def test_a_change_that_makes_no_sense_is_refused(board: Server, change: dict[str, object]) -> None:
    path = f"/api/deployments/{board.start_deployment()['id']}"
    assert board.client.patch(path, json=change).status_code == 422


def test_the_summary_is_what_runs_where(board: Server) -> None:
    def deploy(app: str, host: str, release: str, status: str) -> int:
        started = board.start_deployment(
            app=app, host=host, release=release, started_at="2026-01-01T00:00:00Z"
        )
        end = {"status": status, "finished_at": "2026-01-01T00:00:10Z"}
        board.client.patch(f"/api/deployments/{started['id']}", json=end).raise_for_status()
        return int(started["id"])

    deploy("shop", "app2", "r0", "succeeded")
    first = deploy("shop", "app2", "r1", "succeeded")
    deploy("shop", "app2", "r2", "rolled_back")
    failed = deploy("shop", "app2", "r3", "failed")
    second = deploy("shop", "app1", "r3", "succeeded")
    deploy("search", "app1", "r9", "failed")
    summary = board.client.get("/api/summary").json()
    places = {(place["app"], place["host"]): place for place in summary["places"]}
    assert list(places) == [("search", "app1"), ("shop", "app1"), ("shop", "app2")]
    shop = places["shop", "app2"]
    assert shop["serving"] == {
        "id": first, "release": "r1", "version": None, "since": "2026-01-01T00:00:10Z",
    }  # fmt: skip
    assert (shop["latest"], shop["status"]) == (failed, "failed")
    assert (shop["recent"], shop["recent_failed"], shop["median_seconds"]) == (4, 2, 10.0)
    assert places["shop", "app1"]["serving"]["id"] == second
    assert places["search", "app1"]["serving"] is None
    newest = board.client.get("/api/deployments?limit=1").json()["items"][0]
    assert summary["revision"] == newest["revision"]


def test_the_summary_has_names_in_the_order_of_their_numbers(board: Server) -> None:
    for app, host in [("b", "app10"), ("b", "app1"), ("b", "app2"), ("a10", "x"), ("a9", "x")]:
        board.start_deployment(app=app, host=host)
    places = board.client.get("/api/summary").json()["places"]
    assert [(place["app"], place["host"]) for place in places] == [
        ("a9", "x"),
        ("a10", "x"),
        ("b", "app1"),
        ("b", "app2"),
        ("b", "app10"),
    ]
    page = board.client.get("/").text
    assert page.index(">app2 (running)<") < page.index(">app10 (running)<")


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


def test_a_page_of_the_log_is_what_is_declared_byte_by_byte(board: Server) -> None:
    started = board.start_deployment(version=None)
    figures = {"requests": 9, "failed": 1, "p50_ms": 2, "p99_ms": 2.5}
    change = {"status": "failed", "message": "gone", "probe": figures}
    assert board.client.patch(f"/api/deployments/{started['id']}", json=change).is_success
    board.start_deployment(version="v1")
    # It is written without the models, for speed.
    said = board.client.get("/api/deployments")
    assert said.headers["Content-Type"] == "application/json"
    assert said.content == Page.model_validate_json(said.content, strict=True).model_dump_json().encode()  # fmt: skip
