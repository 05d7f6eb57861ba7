"""Each application answers as it does at home: paths, redirects, sockets, uploads, databases, pages."""

from __future__ import annotations

import json

import pytest
from tests.stack import Stack, eventually


def release(stack: Stack, app: str) -> str:
    """Return the id of the release that serves."""
    return stack.run(f"readlink /srv/{app}/live/release").strip().rpartition("/")[2]


# notes and ping: two applications on one domain, by path.


def test_an_application_below_a_path_names_itself_as_seen_from_outside(stack: Stack) -> None:
    written = stack.request("POST", "https://team.test/notes/entries/", json="buy tea")
    assert written.status_code == 303
    assert written.headers["Location"].startswith("https://team.test/notes/entries/")
    assert stack.get(written.headers["Location"]).json() == "buy tea"
    assert written.headers["Location"] in stack.get("https://team.test/notes/entries/").json()

    to_the_slash = stack.get("https://team.test/notes/entries")
    assert to_the_slash.status_code == 307
    assert to_the_slash.headers["Location"] == "https://team.test/notes/entries/"


def test_its_documentation_finds_its_schema(stack: Stack) -> None:
    assert "url: '/notes/openapi.json'" in stack.get("https://team.test/notes/docs").text
    assert stack.get("https://team.test/notes/openapi.json").json()["info"]["title"] == "Notes"


def test_an_application_that_tells_its_own_path_is_left_alone(stack: Stack) -> None:
    assert stack.get("https://team.test/ping/").json() == "pong"
    assert stack.request("PUT", "https://team.test/ping/beats/backup").status_code == 204
    assert 0 <= stack.get("https://team.test/ping/beats/backup").json()["seconds"] < 20
    assert "url: '/ping/openapi.json'" in stack.get("https://team.test/ping/docs").text
    assert stack.get("https://team.test/ping/openapi.json").json()["info"]["version"] == "1.0"


@pytest.mark.parametrize("path", ["/", "/up", "/notesandmore", "/pingpong", "/docs"])
def test_what_is_nobodys_path_is_not_found(stack: Stack, path: str) -> None:
    answer = stack.get(f"https://team.test{path}")
    assert answer.status_code == 404
    # Nginx says so; the applications speak JSON.
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_websocket_below_a_path(stack: Stack) -> None:
    with stack.websocket("wss://team.test/notes/echo") as socket:
        socket.send("hello")
        assert socket.recv(timeout=10) == "hello"


@pytest.mark.parametrize("name", ["ODD", "ODD_SECRET"])
def test_settings_arrive_to_the_letter(stack: Stack, name: str) -> None:
    odd = (
        'it\'s 50 % "off" at $HOME, ${PATH} and `id`; \\n %h %% \\ and\n'
        " \ta second line # with no comment\n"
        "; grün \\"
    )
    assert stack.get(f"https://team.test/notes/settings/{name}").json() == odd


# shop: a monorepo's service, with a database, a worker, a timer and uploads.


def test_migrations_have_the_owners_rights_and_the_seed_the_applications(stack: Stack) -> None:
    def ask(statement: str) -> str:
        return stack.run(f'runuser -u postgres -- psql -XAtd shop -c "{statement}"').strip()

    tables = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert ask(tables) == "shop_owner"
    by = f"SELECT role FROM seeding WHERE release = '{release(stack, 'shop')}'"
    assert ask(by) == "shop"
    assert ask("SELECT has_schema_privilege('shop', 'public', 'CREATE')") == "f"
    products = stack.get("https://shop.test/products").json()
    assert [item["name"] for item in products] == ["Tea", "Teapot"]


def test_a_library_of_the_workspace_came_along_and_the_worker_runs(stack: Stack) -> None:
    order = {"product": 1, "quantity": 13}
    bought = stack.request("POST", "https://shop.test/purchases", json=order).json()
    assert bought["cents"] == 12 * 450  # of a dozen, one is free: that is the library's

    url = f"https://shop.test/purchases/{bought['id']}"
    confirmed = eventually(lambda: stack.get(url).json()["confirmed_by"])
    assert confirmed == release(stack, "shop")


def test_a_timer_is_set_and_runs_the_same_release(stack: Stack) -> None:
    slot = stack.run("readlink /srv/shop/live").strip().rpartition("/")[2]
    timer = stack.host.service(f"shop-report@{slot}.timer")
    assert timer.is_running and timer.is_enabled
    stack.run(f"systemctl start shop-report@{slot}.service")
    assert stack.get("https://shop.test/report").json()["release"] == release(stack, "shop")


def test_what_is_uploaded_is_kept_where_releases_share_it(stack: Stack) -> None:
    url = "https://shop.test/products/1/picture"
    assert stack.request("PUT", url, content=b"a picture").status_code == 204
    assert stack.get(url).content == b"a picture"
    assert stack.run("cat /srv/shop/shared/uploads/1.png") == "a picture"


def test_an_application_that_trusts_its_own_host_name_alone_is_up(stack: Stack) -> None:
    ask = "curl --silent --output /dev/null --write-out '%{http_code}' --unix-socket /srv/shop/live/app.sock"
    assert stack.get("https://shop.test/health").json()["release"] == release(stack, "shop")
    assert stack.run(f"{ask} http://stranger.test/health") == "400"


# desk: an API that insists on a host and a password, behind a front end.


def test_the_database_by_tcp_with_an_odd_password(stack: Stack) -> None:
    health = stack.get("https://desk.test/api/health").json()
    assert health == {"role": "desk", "host": "127.0.0.1"}
    opened = stack.request("POST", "https://desk.test/api/tickets", json={"subject": "it's 'off'"})
    assert opened.status_code == 201
    assert opened.json() in stack.get("https://desk.test/api/tickets").json()


def test_the_password_is_needed_and_is_for_that_application_alone(stack: Stack) -> None:
    ask = "runuser -u desk -- env PGPASSWORD=%s psql -XAtw -h 127.0.0.1 -U %s -d helpdesk -c 'SELECT 1'"
    for user in ("desk", "shop"):
        assert stack.host.run(ask, "not-the-password", user).rc == 2


def test_a_front_end_answers_every_path_but_the_api(stack: Stack) -> None:
    page = stack.get("https://desk.test/")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    for path in ("/tickets/7", "/tickets/7/edit", "/nothing"):
        assert stack.get(f"https://desk.test{path}").text == page.text
    script = stack.get(
        "https://desk.test/assets/desk-b7d94a53.js", headers={"Accept-Encoding": "gzip"}
    )
    assert script.headers["Content-Type"].split(";")[0].endswith("/javascript")
    assert script.headers["Content-Encoding"] == "gzip"
    missing = stack.get("https://desk.test/api/nothing")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})


# relay: another Python than the host's, and HTTPS only.


def test_an_interpreter_of_its_own(stack: Stack) -> None:
    status = stack.get("https://relay.test/status").json()
    assert status["python"].startswith("3.11.")
    assert status["base_prefix"].startswith("/usr/local/lib/slipway/python/")
    assert stack.get("https://desk.test/api/openapi.json").status_code == 200  # on the host's own


def test_a_dependency_that_has_no_wheel_was_built(stack: Stack) -> None:
    feed = (
        '<rss version="2.0"><channel><title>News</title><item><title>One</title>'
        "<link>https://news.test/1</link><pubDate>Sun, 22 Nov 2026 12:00:00 +0100</pubDate>"
        "</item></channel></rss>"
    )
    answer = stack.request(
        "POST",
        "https://relay.test/feeds",
        content=feed,
        headers={"Content-Type": "application/xml"},
    )
    entry = {
        "title": "One",
        "link": "https://news.test/1",
        "published": "2026-11-22T11:00:00Z",
    }
    assert answer.json() == {"title": "News", "entries": [entry]}
    built = stack.run("ls /srv/relay/live/release/venv/lib/python3.11/site-packages")
    assert "strict_rfc3339-" in built


# What they have in common.


def test_the_server_came_with_the_kit(stack: Stack) -> None:
    code = "import gunicorn, uvicorn_worker, uvloop, httptools, fastapi; print(fastapi.__version__)"
    lock = stack.run("cat /srv/notes/live/release/src/requirements.txt")
    assert "gunicorn" not in lock
    version = stack.run(f"/srv/notes/live/release/venv/bin/python -c '{code}'").strip()
    assert f"fastapi=={version} " in lock  # and the lock's own versions stayed


def test_each_release_has_one_id_on_all_hosts(stacks: list[Stack]) -> None:
    for app in ("notes", "ping", "shop", "desk", "relay"):
        assert len({release(stack, app) for stack in stacks}) == 1, app
        targets = {
            json.loads(stack.run(f"cat /srv/{app}/live/release/release.json"))["target"]
            for stack in stacks
        }
        assert len(targets) == 2, app
