"""The database behind the board: reached by the socket as oneself, with no right that is not needed."""

from __future__ import annotations

from tests.stack import Stack

TOKEN = {"Authorization": "Bearer only-for-this-test-0123456789"}


def psql(stack: Stack, user: str, statement: str) -> tuple[int, str]:
    """Run a statement in the board's database as a user of the host; return psql's exit code and all it said."""
    done = stack.host.run("runuser -u %s -- psql -XAtd board -c %s", user, statement)
    return done.rc, (done.stdout + done.stderr).strip()


def test_what_is_posted_is_in_postgresql_and_comes_back(stack: Stack) -> None:
    sent = {"app": "shop", "host": "web9", "release": "0a1b2c"}
    created = stack.request("POST", "https://board.test/api/deployments", json=sent, headers=TOKEN)
    assert created.status_code == 201, created.text
    identifier = created.json()["id"]
    assert psql(
        stack, "postgres", f"SELECT app, host, release FROM deployment WHERE id = {identifier}"
    ) == (0, "shop|web9|0a1b2c")
    finished = stack.request(
        "PATCH",
        f"https://board.test/api/deployments/{identifier}",
        json={"status": "succeeded"},
        headers=TOKEN,
    )
    assert finished.status_code == 200, finished.text
    assert (
        stack.get(f"https://board.test/api/deployments/{identifier}").json()["status"]
        == "succeeded"
    )


def test_nobody_writes_without_the_token(stack: Stack) -> None:
    body = {"app": "shop", "host": "web9", "release": "0a1b2c"}
    assert stack.request("POST", "https://board.test/api/deployments", json=body).status_code == 401


def test_the_board_holds_the_releases_of_this_very_run(stack: Stack) -> None:
    items = stack.get("https://board.test/api/deployments?limit=200").json()["items"]
    recorded = {(item["app"], item["host"], item["status"]) for item in items}
    assert {(app, stack.name, "succeeded") for app in ("board", "notes", "ping")} <= recorded


def test_readiness_is_the_database_and_its_schema(stack: Stack) -> None:
    answer = stack.get("https://board.test/readyz")
    assert answer.status_code == 200
    assert answer.json()["release"] in stack.run("readlink /srv/board/live/release")
    assert (
        answer.json()["schema_version"]
        == psql(stack, "postgres", "SELECT version_num FROM alembic_version")[1]
    )


def test_the_application_has_dml_and_nothing_more(stack: Stack) -> None:
    assert psql(stack, "board", "SELECT count(*) >= 0 FROM deployment") == (0, "t")
    for statement in (
        "CREATE TABLE mine ()",
        "ALTER TABLE deployment ADD x int",
        "DROP TABLE deployment",
        "TRUNCATE deployment",
    ):
        code, said = psql(stack, "board", statement)
        assert code == 1, statement
        assert "permission denied" in said or "must be owner" in said, said


def test_what_the_migrator_makes_belongs_to_an_owner_who_cannot_log_in(stack: Stack) -> None:
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'deployment'"
    assert psql(stack, "postgres", owner) == (0, "board_owner")
    assert psql(
        stack, "postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'board_owner'"
    ) == (0, "f")


def test_nobody_else_gets_in(stack: Stack) -> None:
    for user in ("notes", "www-data", "nobody", "deploy"):
        assert psql(stack, user, "SELECT 1")[0] == 2, user


def test_the_server_is_closed_and_its_data_are_checked(stack: Stack) -> None:
    settings = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN "
    names = "('data_checksums', 'listen_addresses', 'password_encryption', 'server_encoding')"
    assert psql(stack, "postgres", settings + names) == (
        0,
        "data_checksums=on listen_addresses= password_encryption=scram-sha-256 server_encoding=UTF8",
    )
    assert stack.host.run("ss --no-header --listening --tcp sport = :5432").stdout == ""
