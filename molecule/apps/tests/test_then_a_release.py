"""A new version of an application takes its worker and its timer with it, and finds the files of the old one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stack import ROOT, Stack, eventually, play

SHOP = ROOT / ".slipway/apps/shop/services/shop/src/shop/main.py"
PICTURE = "https://shop.test/products/2/picture"


# A run is for all hosts; where it goes is no matter here, and one of them is quicker.
pytestmark = pytest.mark.parametrize("stack", ["apps13"], indirect=True)


def serving(stack: Stack) -> object:
    """Return the shop's release, as the shop itself says it."""
    return stack.get("https://shop.test/health").json()["release"]


def confirmed(stack: Stack) -> object:
    """Buy something, and return the release whose worker has confirmed that."""
    bought = stack.request("POST", "https://shop.test/purchases", json={"product": 2}).json()
    url = f"https://shop.test/purchases/{bought['id']}"
    return eventually(lambda: stack.get(url).json()["confirmed_by"])


def check_processes(stack: Stack, release: object) -> None:
    """Check that worker and timer are those of a release, and that nothing of the other slot is left."""
    assert confirmed(stack) == release
    slot = stack.run("readlink /srv/shop/live").strip().rpartition("/")[2]
    other = {"blue": "green", "green": "blue"}[slot]
    for unit in ("shop@{}.service", "shop-worker@{}.service", "shop-report@{}.timer"):
        now, before = (stack.host.service(unit.format(name)) for name in (slot, other))
        assert now.is_running and now.is_enabled, unit
        assert not before.is_enabled, unit
        # The slot itself is kept warm; what must not run twice is not.
        assert before.is_running == (unit == "shop@{}.service"), unit
    stack.run(f"systemctl start shop-report@{slot}.service")
    assert stack.get("https://shop.test/report").json()["release"] == release


def test_worker_and_timer_go_with_the_release_and_back(stack: Stack, inventory: Path) -> None:
    before = serving(stack)
    assert stack.request("PUT", PICTURE, content=b"kept").status_code == 204

    SHOP.write_text(SHOP.read_text() + "\n# another version\n")
    deploy = play("playbooks/deploy.yml", inventory, "--limit", stack.name)
    assert deploy.returncode == 0, deploy.stdout[-4000:]
    after = serving(stack)
    assert after != before
    check_processes(stack, after)
    assert stack.get(PICTURE).content == b"kept"
    assert stack.request("PUT", PICTURE, content=b"renewed").status_code == 204

    back = play("playbooks/rollback.yml", inventory, "--limit", stack.name, "-e", "app=shop")
    assert back.returncode == 0, back.stdout[-4000:]
    assert serving(stack) == before
    check_processes(stack, before)
    assert stack.get(PICTURE).content == b"renewed"


def test_what_prepares_a_release_ran_once_for_each(stack: Stack) -> None:
    ask = "runuser -u postgres -- psql -XAtd shop -c 'SELECT release FROM seeding ORDER BY id'"
    releases = stack.run(ask).split()
    assert len(releases) == 2 and len(set(releases)) == 2
