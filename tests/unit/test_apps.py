"""What the inventory says of an application is checked to the letter, and every message names the key and the fix."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

BOARD: dict[str, Any] = {
    "source": "app/",
    "module": "board.main:app",
    "domains": ["board.example.org"],
}


def changed(**keys: Any) -> dict[str, Any]:
    """Return the inventory's apps: the board with some keys changed; a key set to None is left out."""
    return {
        "board": {
            key: value for key, value in (copy.deepcopy(BOARD) | keys).items() if value is not None
        }
    }


def test_the_smallest_application_gets_every_default(filters: ModuleType) -> None:
    app = filters.validated_apps(changed())["board"]
    assert app["name"] == "board"
    assert app["health"] == "/"
    assert app["workers"] == "auto"
    assert app["database"] == app["static"] == app["env"] == app["secrets"] == {}


@pytest.mark.parametrize(
    ("apps", "message"),
    [
        (changed(modul="board.main:app"), "apps.board.modul: unknown key; did you mean module?"),
        (
            changed(database={"nam": "board"}),
            "apps.board.database.nam: unknown key; did you mean name?",
        ),
        (changed(zzz=1), "apps.board.zzz: unknown key; known are: database, domains"),
        (changed(domains="board.example.org"), "apps.board.domains: must be a list, not str"),
        (changed(env=["A=b"]), "apps.board.env: must be a dict, not list"),
        (changed(module=["board"]), "apps.board.module: must be a str, not list"),
        (changed(source=None), "apps.board: missing required arguments: source"),
        (changed(database={"extensions": []}), "name"),
        (
            changed(module="board.main"),
            "apps.board.module: 'board.main' is not of the form package.module:attribute",
        ),
        (changed(domains=[]), "apps.board.domains: is empty"),
        (
            changed(domains=["https://board.example.org/"]),
            "apps.board.domains: 'https://board.example.org/' is not a host name",
        ),
        (
            changed(domains=["a.org", "a.org"]),
            "apps.board.domains, apps.board.domains: a.org is listed 2 times",
        ),
        (changed(workers="many"), "apps.board.workers: 'many' is neither 'auto' nor a number"),
        (changed(workers=0), "apps.board.workers: '0' is neither"),
        (changed(health="readyz"), "apps.board.health: 'readyz' is not a path"),
        (
            changed(migrate="alembic upgrade head"),
            "apps.board.migrate: there is no database to migrate",
        ),
        (changed(database={"name": "Board; DROP"}), "apps.board.database.name: 'Board; DROP'"),
        (
            changed(static={"path": "../../etc"}),
            "apps.board.static.path: '../../etc' must lie in the source",
        ),
        (
            changed(static={"path": "static", "url": "static"}),
            "apps.board.static.url: 'static' must begin and end with a slash",
        ),
        (
            changed(env={"A-B": "c"}),
            "apps.board.env.A-B: is not a name for an environment variable",
        ),
        (changed(env={"A": ["c"]}), "apps.board.env.A: must be a text, a number or a boolean"),
        (changed(env={"A": 1}, secrets={"A": 2}), "apps.board.env.A: stands in secrets too"),
        ({"Board": BOARD}, "apps.Board: the name must be a lower-case letter"),
        ({"root": BOARD}, "apps.root: the name is taken"),
        ({"postgresql": BOARD}, "apps.postgresql: the name is taken"),
        ({"shop_migrator": BOARD}, "apps.shop_migrator: the name is taken"),
        (
            changed(database={"name": "template1"}),
            "apps.board.database.name: template1 is PostgreSQL's own",
        ),
        (changed(env={"PATH": "/bin"}), "apps.board.env.PATH: the release's own environment"),
        ({"board": "app/"}, "apps.board: must be a dict"),
        (["board"], "apps: must be a dict of applications by name"),
    ],
)
def test_what_is_wrong_is_named_with_the_fix(filters: ModuleType, apps: Any, message: str) -> None:
    errors = filters.app_errors(apps)
    assert len(errors) == 1, errors
    assert message in errors[0]
    with pytest.raises(AnsibleFilterError, match="apps"):
        filters.validated_apps(apps)


def test_two_applications_cannot_share_a_domain_or_a_database(filters: ModuleType) -> None:
    apps = {
        name: copy.deepcopy(BOARD) | {"database": {"name": "one"}} for name in ("left", "right")
    }
    assert filters.app_errors(apps) == [
        "apps.left.domains, apps.right.domains: board.example.org is listed 2 times; keep it in one place",
        "apps.left.database.name, apps.right.database.name: one is listed 2 times; keep it in one place",
    ]


def test_every_mistake_is_told_at_once(filters: ModuleType) -> None:
    apps = {
        "left": BOARD | {"health": "x", "workers": "x"},
        "right": BOARD | {"modul": "x", "domains": ["b.org"]},
    }
    assert len(filters.app_errors(apps)) == 3


def test_views_for_the_other_roles(filters: ModuleType) -> None:
    apps = filters.validated_apps(changed(database={"name": "board"}, static={"path": "static/"}))
    assert filters.databases(apps) == [{"user": "board", "name": "board", "extensions": []}]
    assert filters.leaves(apps) == [{"name": "board", "domains": ["board.example.org"]}]
    (site,) = filters.sites(apps)
    assert site["upstream"] == "unix:/srv/board/live/app.sock"
    assert site["static"] == {"url": "/static/", "path": "/srv/board/live/release/static"}
    assert "static" not in filters.sites(filters.validated_apps(changed()))[0]


def test_an_option_that_a_role_lacks_is_named_with_the_nearest(filters: ModuleType) -> None:
    role = str(filters.ROLES / "nginx")
    assert filters.unknown_options(["nginx_sites", "nginx_http_port"], role) == []
    assert filters.unknown_options(["nginx_htp_port"], role) == [
        "nginx_htp_port: did you mean nginx_http_port?"
    ]


@pytest.mark.parametrize(
    "value",
    ["plain", 'a "quote"', "50 % $HOME `id` \\n \\", "two\nlines", " spaces ", "# no comment", ""],
)
def test_systemd_reads_an_environment_file_to_the_letter(
    filters: ModuleType, tmp_path: Path, value: str
) -> None:
    # Within double quotes a POSIX shell has the same four escapes as systemd, whom molecule/stack asks.
    content = filters.environment_file({"VALUE": value, "ON": True, "PORT": 80})
    assert content.splitlines()[0] == 'ON="true"'
    assert content.splitlines()[1] == 'PORT="80"'
    path = tmp_path / "environment"
    path.write_text(content)
    read = subprocess.run(
        ["sh", "-c", f'. "{path}"; printf %s "$VALUE"'], capture_output=True, text=True, check=True
    )
    assert read.stdout == value
