"""What holds for each file that a role writes, whatever it is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import ROOT, Host

SECRET = "the-only-secret-there-is"
# The only file that may hold one.
ENVIRONMENT = "srv/environment.j2"
# What a template's task gives it; a template that is not here needs nothing.
GIVEN: dict[str, dict[str, Any]] = {
    "baseline": {"__baseline_look": {"stdout": ""}},
    "postgresql": {"postgresql_repository_url": "https://example.org/pgdg"},
    "backup": {"__backup_timer": "{{ __backup_timers['slipway-backup-daily'] }}"},
    "nginx": {"item": "{{ nginx_sites[0] }}", "nginx_maintenance_message": "Back at 14:00"},
    "fastapi_app": {
        "__fastapi_app_name": "shop",
        "__fastapi_app_release_id": "0123456789ab",
        "__fastapi_app_state": {"live": "blue"},
        "__fastapi_app_process": {"name": "digest", "run": "true", "on_calendar": "daily"},
    },
}
# Fed to psql: no file on any host.
NO_FILE_ON_THE_HOST = {"databases.sql.j2"}
# Read by anybody, whom it doesn't concern who manages what.
FOR_EVERYBODY = {"var/lib/slipway/maintenance/page.html.j2"}
TEMPLATES = [
    (role.name, str(path.relative_to(role / "templates")))
    for role in sorted((ROOT / "roles").iterdir())
    for path in sorted(role.glob("templates/**/*.j2"))
    if role / "templates/site" not in path.parents  # parts of a file, which is rendered as a whole
]


@pytest.mark.parametrize(("role", "template"), TEMPLATES)
def test_a_rendered_file_is_whole_and_tidy(host: Host, role: str, template: str) -> None:
    text = host.render(role, template, **GIVEN.get(role, {}))
    if template not in NO_FILE_ON_THE_HOST | FOR_EVERYBODY:
        assert text.startswith("#\n# Managed by Slipway.")
    assert not re.search(r"\{\{|\{%|%\}|\}\}", text)
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert text.endswith("\n")
    assert "None" not in text


@pytest.mark.parametrize(("role", "template"), TEMPLATES)
def test_a_secret_is_in_the_environment_file_and_nowhere_else(
    host: Host, role: str, template: str
) -> None:
    text = host.render(role, template, **GIVEN.get(role, {}))
    assert (SECRET in text) == (template == ENVIRONMENT)
