"""Somebody else's site on the same Nginx survives our runs, and nothing of Debian's own files is edited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stack import Stack, changes, play

SITE = """\
server {
    listen 80;
    listen 443 ssl;
    server_name theirs.test;
    ssl_certificate /etc/ssl/theirs.pem;
    ssl_certificate_key /etc/ssl/theirs.key;
    location / {
        default_type text/plain;
        return 200 "theirs by $scheme";
    }
}
"""


@pytest.fixture
def theirs(stacks: list[Stack]) -> Iterator[list[str]]:
    """Have a site of somebody else's on the hosts, and return digests of all that is in Nginx's folder but ours."""
    for stack in stacks:
        stack.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=theirs.test "
            "-addext subjectAltName=DNS:theirs.test -keyout /etc/ssl/theirs.key -out /etc/ssl/theirs.pem 2>&1"
        )
        stack.run(f"tee /etc/nginx/sites-available/theirs <<'END'\n{SITE}END")
        stack.run("ln -sf ../sites-available/theirs /etc/nginx/sites-enabled/theirs")
        stack.run("nginx -t -q && systemctl reload nginx")
    yield [digest(stack) for stack in stacks]
    for stack in stacks:
        stack.run(
            "rm /etc/nginx/sites-enabled/theirs /etc/nginx/sites-available/theirs /etc/ssl/theirs.*"
        )
        stack.run("systemctl reload nginx")


def digest(stack: Stack) -> str:
    """Return the digests of the files in Nginx's folder that Slipway has not written."""
    return stack.run("find -L /etc/nginx -type f ! -name '*slipway*' -exec sha256sum {} + | sort")


def answers(stack: Stack) -> list[str]:
    """Return what the site says by HTTP and by HTTPS, asked on the host itself."""
    ask = "--resolve theirs.test:80:127.0.0.1 --resolve theirs.test:443:127.0.0.1"
    stack.run("command -v curl >/dev/null || apt-get install -qy --no-install-recommends curl")
    return [
        stack.run(f"curl --silent {ask} --cacert /etc/ssl/theirs.pem {scheme}://theirs.test/")
        for scheme in ("http", "https")
    ]


def test_a_site_of_somebody_elses_goes_on_and_runs_leave_it_alone(
    stacks: list[Stack], theirs: list[str], inventory: Path
) -> None:
    served = ["theirs by http", "theirs by https"]
    assert [answers(stack) for stack in stacks] == [served, served]
    run = play("site.yml", inventory)
    assert run.returncode == 0, run.stdout[-4000:]
    assert set(changes(run).values()) == {0}
    # And one that has something to write.
    run = play("site.yml", inventory, "-e", "nginx_static_max_age=60")
    assert run.returncode == 0, run.stdout[-4000:]
    assert min(changes(run).values()) > 0
    for stack in stacks:
        style = stack.get("https://edge.test/static/style.css")
        assert style.headers["Cache-Control"] == "public, max-age=60"
        assert answers(stack) == served
    assert [digest(stack) for stack in stacks] == theirs
    assert play("site.yml", inventory).returncode == 0


def test_nothing_of_debians_is_edited(stack: Stack) -> None:
    assert stack.run("dpkg --verify nginx nginx-common") == ""
