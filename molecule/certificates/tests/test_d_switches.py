"""A certificate may come from elsewhere at any time; each way is one run."""

from __future__ import annotations

from tests.certificates import SCRATCH, Edge, site
from tests.stack import changes

PASSWORD = f"--vault-password-file={SCRATCH / 'vault-password'}"


def test_each_kind_follows_each_other(stacks: list[Edge]) -> None:
    files = {"from": "files", "chain": "{{ scratch }}/own.pem", "key": "{{ scratch }}/vaulted.key"}
    local, acme = {"from": "local"}, {"from": "acme"}
    run = site(PASSWORD, "-v", "--diff", web_tls=local, own_tls=acme, near_tls=files)
    assert run.returncode == 0, run.stdout[-4000:]
    key = "".join((SCRATCH / "own.key").read_text().splitlines()[1:-1])
    assert key[:40] not in run.stdout
    for stack in stacks:
        stack.certificate("web", f"{stack.name}.pem")
        stack.certificate("own", "pebble.pem")
        stack.certificate("near", "root.pem")
        stack.run("nginx -t -q")

    run = site()
    assert run.returncode == 0, run.stdout[-4000:]
    for stack in stacks:
        stack.certificate("web", "pebble.pem")
        stack.certificate("own", "root.pem")
        stack.certificate("near", f"{stack.name}.pem")
        stack.run("nginx -t -q")


def test_a_site_that_goes_takes_its_certificate_and_its_orders_along(stacks: list[Edge]) -> None:
    run = site(wild_state="absent")
    assert run.returncode == 0, run.stdout[-4000:]
    for stack in stacks:
        places = "/etc/slipway /var/lib/slipway/acme"
        assert "wild" not in stack.run(f"find {places} -name '*wild*'")
        assert stack.answers() == 200


def test_without_any_order_nothing_orders(stacks: list[Edge]) -> None:
    gone = {"wild_state": "absent", "web_tls": {"from": "local"}}
    run = site(**gone)
    assert run.returncode == 0, run.stdout[-4000:]
    for stack in stacks:
        assert stack.host.run("systemctl is-enabled slipway-acme.timer").rc != 0
        stack.certificate("web", f"{stack.name}.pem")
    run = site(**gone)
    assert {changes(run)[stack.name] for stack in stacks} == {0}, run.stdout
