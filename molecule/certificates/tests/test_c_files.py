"""What is supplied is looked at before anything is touched."""

from __future__ import annotations

import re

import pytest
from tests.certificates import SCRATCH, site
from tests.stack import Stack, said

OWN = {"from": "files", "chain": "{{ scratch }}/own.pem", "key": "{{ scratch }}/own.key"}


def test_a_dry_run_with_the_staging_switch_says_whom_it_would_ask() -> None:
    run = site("--limit", "cert13", "--check", certificates_acme_staging=True)
    assert run.returncode == 0, run.stdout[-4000:]
    (names,) = re.findall(r"//acme-staging\S+/directory will be asked for: ([a-z, ]+)", said(run))
    assert names.split(", ") == ["web", "wild"]


@pytest.mark.parametrize(
    ("part", "file", "key", "message"),
    [
        ("key", "stranger.key", "tls.key", "is not the key of CN=own"),
        ("chain", "stranger.pem", "tls.chain", "so not for own.cert13.test"),
        ("chain", "ended.pem", "tls.chain", "ended on"),
        ("chain", "reversed.pem", "tls.chain", "is not signed by the one after it"),
        ("key", "nowhere.key", "tls.key", "can't be read"),
    ],
)
def test_what_will_not_do_is_refused(part: str, file: str, key: str, message: str) -> None:
    host = Stack("cert13", SCRATCH / "root.pem")
    look = "find /etc/slipway /etc/nginx /srv -printf '%p %l %T@\\n'"
    before = host.run(look)
    own = OWN | {part: f"{{{{ scratch }}}}/{file}"}
    run = site("--limit", "cert13", own_tls=own)
    assert run.returncode != 0
    told = said(run).replace("''", "'")
    assert "cert13 can't be given what is supplied" in told
    assert f"apps.own.{key}: " in told and message in told
    assert "PRIVATE KEY-----\\n" not in run.stdout and "MHcCAQEE" not in run.stdout
    assert host.run(look) == before
