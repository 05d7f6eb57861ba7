"""What opens the team's server stays on the control node; what is an application's is nobody else's."""

from __future__ import annotations

import os

import pytest
from tests.stack import Stack


def test_credentials_of_git_and_index_are_not_on_the_host(stack: Stack) -> None:
    # One letter in brackets: sudo logs this command, too.
    password = os.environ["TEAM_PASSWORD"]
    everywhere = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
    look = f"grep --recursive --files-with-matches --devices=skip %s {everywhere}"
    assert stack.host.run(look, f"{password[:-1]}[{password[-1]}]").stdout == ""
    # The index's address is nobody's business there either.
    assert "8917" not in stack.run("cat /srv/ping/live/release/release.json")


@pytest.mark.parametrize("app", ["notes", "desk"])
def test_an_application_cannot_read_another_ones_settings(stack: Stack, app: str) -> None:
    for user in ("notes", "ping", "shop", "desk", "relay"):
        environment = stack.host.run(f"runuser -u {user} -- cat /srv/{app}/live/environment")
        assert environment.rc != 0, user
