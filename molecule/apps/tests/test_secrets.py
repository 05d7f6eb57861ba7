"""What opens the team's server stays on the control node; what is secret on a host is in root's files alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.stack import Stack, play

ODD_PASSWORD = "p@ss:w/rd%\"$'\\ #?&=+"


def test_credentials_of_git_and_index_are_not_on_the_host(stack: Stack) -> None:
    everywhere = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
    found = stack.host.run(
        "grep --recursive --files-with-matches --fixed-strings --devices=skip %s " + everywhere,
        os.environ["TEAM_PASSWORD"],
    )
    assert found.stdout == ""
    # The index's address is nobody's business there either.
    assert "8917" not in stack.run("cat /srv/ping/live/release/release.json")


@pytest.mark.parametrize("app", ["notes", "desk"])
def test_an_application_cannot_read_another_ones_settings(stack: Stack, app: str) -> None:
    for user in ("notes", "ping", "shop", "desk", "relay"):
        environment = stack.host.run(f"runuser -u {user} -- cat /srv/{app}/live/environment")
        assert environment.rc != 0, user


def test_no_secret_is_in_what_a_run_says(inventory: Path) -> None:
    run = play(
        "site.yml", inventory, "--check", "--diff", "-vvv", "-e", '{"fastapi_app_keep_releases": 3}'
    )
    assert run.returncode == 0, run.stdout[-3000:]
    said = run.stdout + run.stderr
    for secret in (os.environ["TEAM_PASSWORD"], ODD_PASSWORD, "p%40ss", "second line # with"):
        assert secret not in said
