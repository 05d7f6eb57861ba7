"""A drill proves a repository, and one that would not give back what was written fails it, and is told why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from tests.backups import Figure, Kept, run
from tests.stack import ROOT

WAL = "/var/lib/pgbackrest/archive"


def test_each_repository_away_is_proven(stacks: list[Kept], figure: Figure) -> None:
    done = run("playbooks/drill.yml", "-e", "repository=away")
    assert done.returncode == 0, done.stdout[-4000:]
    for stack in stacks:
        assert f"{stack.name}, away:" in done.stdout
        drill = stack.repositories["away"]["drill"]
        assert drill["ok"] and drill["size"] > 20_000_000
        figure(
            f"{stack.name}: drill of {drill['size'] / 1e6:.0f} MB away in {drill['seconds']} s: "
            f"{json.dumps(drill['steps'])}"
        )
        # Nothing is left of it but the row.
        assert stack.run("ls /var/lib/slipway/scratch/drill") == ""
        assert int(stack.sql("SELECT count(*) FROM canary", "slipway_canary")) >= 1


def test_the_next_one_is_for_the_other_repository(stack: Kept) -> None:
    assert "proven" not in stack.repositories["local"]
    proven, said = stack.start("slipway-drill")
    assert proven, said
    assert "local is proven" in said
    assert stack.repositories["local"]["proven"] > stack.repositories["away"]["proven"]
    metrics = stack.run("cat /var/lib/prometheus/node-exporter/slipway_backup.prom")
    assert 'slipway_drill_ok{repository="local"} 1' in metrics


@pytest.fixture
def before(stack: Kept) -> Iterator[str]:
    """Return when the local repository was last proven, which a drill that fails doesn't change."""
    proven = stack.repositories["local"]["proven"]
    yield proven
    assert stack.repositories["local"]["proven"] == proven
    metrics = stack.run("cat /var/lib/prometheus/node-exporter/slipway_backup.prom")
    assert 'slipway_drill_ok{repository="local"} 0' in metrics


def test_a_corrupt_repository_fails_it(stack: Kept, before: str) -> None:
    bundle = stack.run(
        "find /var/lib/pgbackrest/backup -path '*F/bundle/*' -size +100k | head -n 1"
    ).strip()
    with stack.spoilt(bundle):
        stack.run(f"dd if=/dev/zero of={bundle} bs=1 seek=100000 count=16 conv=notrunc status=none")
        proven, said = stack.drill("local")
    assert not proven
    assert "repository local is corrupted: backup: 2" in said
    assert "checksum invalid" in said


def test_a_missing_wal_segment_fails_it(stack: Kept, before: str) -> None:
    listed = stack.run(f"find {WAL} -name '0000*-*.zst' | sort").split()
    middle = listed[-2]
    segment = re.findall(r"/([0-9A-F]{24})-", middle)[0]
    with stack.spoilt(middle):
        stack.run(f"rm {middle}")
        proven, said = stack.drill("local")
    assert not proven
    assert f"repository local lacks the WAL segment {segment}" in said


def test_a_full_scratch_disk_fails_it(stack: Kept, before: str) -> None:
    stack.run("mount -t tmpfs -o size=30m,uid=postgres,mode=0700 small /var/lib/slipway/scratch")
    try:
        proven, said = stack.drill("local")
    finally:
        stack.run("umount /var/lib/slipway/scratch")
    assert not proven
    assert "the disk of /var/lib/slipway/scratch is too full for a drill: 31 MB are free" in said


def test_a_wrong_key_fails_it(stack: Kept, before: str) -> None:
    conf = "/etc/pgbackrest/conf.d/slipway-generated.conf"
    with stack.spoilt(conf):
        stack.run(f"sed -i 's/cipher-pass=.*/cipher-pass=another/' {conf}")
        proven, said = stack.drill("local")
    assert not proven
    assert "repository local can't be read with its passphrase" in said


def test_the_status_says_so_and_what_to_do(stack: Kept) -> None:
    assert run("playbooks/status.yml", "-e", "output=json").returncode == 0
    rows = json.loads((ROOT / ".slipway/status.json").read_text())["backups"]
    row = next(row for row in rows if (row["host"], row["repository"]) == (stack.name, "local"))
    (problem,) = row["problems"]
    assert "the last drill did not prove local" in problem["seen"]
    assert "passphrase" in problem["seen"]
    assert problem["next"].endswith("playbooks/drill.yml -e repository=local")


def test_mended_it_is_proven_again(stack: Kept) -> None:
    assert stack.drill("local") == (True, "")
