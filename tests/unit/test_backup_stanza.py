"""What pgBackRest says is read as it is meant: corruption, gaps, keys; a restore begins and ends where it should."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import restore
import stanza
import targets
import tunnel
from stanza import Failed, Repository, Stanza
from targets import Target

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
# As 2.45 prints it; 2.55 says the same.
SOUND = """\
stanza: main
status: ok
"""
CORRUPT = """\
stanza: main
status: error
  archiveId: 15-1, total WAL checked: 6, total valid WAL: 5
    other: 1
  backup: 20261128-061849F, status: invalid, total files checked: 964, total valid files: 963
    checksum invalid: 1
  backup: 20261128-061849F_20261128-061853D, status: invalid, total files checked: 965, total valid files: 963
    missing: 1, checksum invalid: 1, size invalid: 0, other: 0
"""
GARBLED = "[FormatError] unable to load info file '/r/backup/main/backup.info' or '/r/backup/main/backup.info.copy':\nx"


def backup(label: str, start: str, stop: str, lsn: str, at: float, **more: Any) -> dict[str, Any]:
    """Return a backup as ``pgbackrest info`` has it."""
    return {
        "label": label,
        "archive": {"start": start, "stop": stop},
        "lsn": {"stop": lsn},
        "timestamp": {"stop": at},
        "database": {"id": 1},
        **more,
    }


FULL = backup("F", "000000010000000000000002", "000000010000000000000003", "0/3000050", 1000)
DIFF = backup("D", "000000010000000000000005", "000000010000000000000006", "0/6000050", 2000)


def wal(*segments: str) -> list[str]:
    """Return the paths of segments in an archive, with what else there is."""
    files = [f"{name[:16]}/{name}-{'0' * 40}.zst" for name in segments]
    return ["00000002.history", "0000000100000000/000000010000000000000002.00000028.backup", *files]


def test_a_sound_repository_is_told_from_a_corrupt_one() -> None:
    assert stanza.corruption(SOUND) == ""
    assert stanza.corruption("") == ""
    assert stanza.corruption(CORRUPT) == (
        "WAL of 15-1: 1 files other; backup: 20261128-061849F: 1 files checksum invalid; "
        "backup: 20261128-061849F_20261128-061853D: 1 files missing, 1 files checksum invalid"
    )
    assert "No usable archive.info file" in stanza.corruption(
        "stanza: main\nstatus: error\n  No usable archive.info file\n"
    )


def test_a_gap_in_the_wal_is_found_though_verify_says_nothing_of_it() -> None:
    first = [f"00000001000000000000000{n}" for n in (1, 2, 3)]
    assert stanza.missing(wal(*first), [FULL]) == []
    assert stanza.missing(wal(first[0], first[2]), []) == ["000000010000000000000002"]
    # That of a backup has to be there, though it be before the first or after the last.
    assert stanza.missing(wal(first[0], first[1]), [FULL]) == ["000000010000000000000003"]
    assert stanza.missing(wal(first[2]), [FULL]) == ["000000010000000000000002"]


def test_a_gap_from_before_the_newest_full_backup_is_past_mending() -> None:
    listed = wal(*(f"00000001000000000000000{n}" for n in (1, 3, 4, 6)))
    first = backup(
        "F", "000000010000000000000001", "000000010000000000000001", "0/1000050", 1, type="full"
    )
    second = backup(
        "G", "000000010000000000000004", "000000010000000000000004", "0/4000050", 2, type="full"
    )
    gaps = ["000000010000000000000002", "000000010000000000000005"]
    assert stanza.missing(listed, [first]) == gaps
    assert stanza.missing(listed, [first, second]) == gaps[1:]


def test_segments_go_on_in_the_next_file_of_numbers_and_on_each_timeline() -> None:
    over = ["0000000100000000000000FF", "000000010000000100000000", "000000010000000100000001"]
    assert stanza.missing(wal(*over), []) == []
    assert stanza.missing(wal(over[0], over[2]), []) == [over[1]]
    other = ["000000020000000100000001", "000000020000000100000003"]
    assert stanza.missing(wal(*over, *other), []) == ["000000020000000100000002"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (GARBLED, "repository away can't be read with its passphrase"),
        ("[CryptoError] unable to flush\nbackup.info", "can't be read with its passphrase"),
        ("[FileMissingError] unable to open backup.info", "repository away is corrupted"),
        ("[HostConnectError] unable to connect to 's3'", "repository away can't be reached"),
    ],
)
def test_why_a_repository_can_not_be_read_is_told(said: str, wanted: str) -> None:
    assert wanted in stanza.unreadable(Repository("away", 2, "s3"), said)


def test_what_can_not_be_printed_and_hints_are_left_out() -> None:
    said = "2026-11-28 06:18:56.035 P00   ERROR: [029]: bad \x00\x07 file\nHINT: think\nWARN: no\n"
    assert stanza.words(said) == "ERROR: [029]: bad file"


def test_a_restore_begins_with_the_newest_backup_from_before_its_target() -> None:
    def label(target: Target, left: dict[int, int] | None = None, timeline: int = 1) -> str:
        found = targets.pick([FULL, DIFF], target, left or {}, timeline)
        return found["label"] if found else ""

    assert label(Target()) == "D"
    assert label(Target("lsn", "0/6000050")) == "D"
    assert label(Target("lsn", "0/600004F")) == "F"
    assert label(Target("lsn", "0/1000000")) == ""
    at = "1970-01-01 00:{:02}:{:02}.000000+00"
    assert label(Target("time", at.format(33, 20))) == "D"
    assert label(Target("time", at.format(33, 19))) == "F"
    assert label(Target("time", at.format(16, 39))) == ""


def test_a_backup_of_a_past_that_was_given_up_is_none_to_begin_with() -> None:
    left = targets.forks("1\t0/5000000\tno recovery target specified\n\n")
    assert left == {1: 0x5000000}
    found = targets.pick([FULL, DIFF], Target(), left, 2)
    assert found and found["label"] == "F"
    after = backup("2", "000000020000000000000005", "000000020000000000000005", "0/5000100", 3000)
    found = targets.pick([FULL, DIFF, after], Target(), left, 2)
    assert found and found["label"] == "2"


POINTS = [
    {
        "name": "shop_aaaa",
        "app": "shop",
        "release": "aaaa",
        "lsn": "0/10",
        "timeline": 1,
        "time": "1",
    },
    {
        "name": "shop_bbbb",
        "app": "shop",
        "release": "bbbb",
        "lsn": "0/20",
        "timeline": 2,
        "time": "2",
    },
    {
        "name": "till_bbbb",
        "app": "till",
        "release": "bbbb",
        "lsn": "0/30",
        "timeline": 2,
        "time": "3",
    },
]


def test_a_target_is_all_there_is_or_a_release_or_a_point_or_a_time() -> None:
    assert targets.resolve("latest", POINTS, NOW).kind == "default"
    release = targets.resolve("aaaa", POINTS, NOW)
    assert (release.kind, release.value, release.timeline) == ("lsn", "0/10", 1)
    assert "--target-exclusive" in release.options("promote")
    assert "--target-timeline=1" in release.options("promote")
    assert targets.resolve("till_bbbb", POINTS, NOW).value == "0/30"
    assert targets.resolve("2:0/20", POINTS, NOW).words.startswith("before release bbbb of shop")
    elsewhere = targets.resolve("3:1/2A", POINTS, NOW)
    assert (elsewhere.kind, elsewhere.value, elsewhere.timeline) == ("lsn", "1/2A", 3)
    time = targets.resolve("2026-11-28 12:30:00+01:00", POINTS, NOW)
    assert (time.kind, time.value) == ("time", "2026-11-28 11:30:00.000000+00")


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("bbbb", "a release of several applications; name one of shop_bbbb, till_bbbb"),
        ("yesterday", "known are: till_bbbb, shop_bbbb, shop_aaaa"),
        ("2026-11-28 12:00:01+00:00", "yet to come"),
    ],
)
def test_a_target_that_is_none_is_refused(to: str, said: str) -> None:
    with pytest.raises(Failed, match=said):
        targets.resolve(to, POINTS, NOW)


def test_restore_points_are_read_from_what_was_released(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    lines = [
        {"app": "shop", "release": "aaaa", "restore_point": POINTS[0]},
        {"app": "shop", "release": "cccc"},
    ]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "shop/releases.jsonl").write_text(f'{text}\n{{"cut o')
    assert [point["release"] for point in targets.points(tmp_path)] == ["aaaa"]


def test_the_way_back_leads_to_before_the_first_migration_since_a_release_served() -> None:
    point = {"name": "x", "lsn": "0/10"}
    lines: list[dict[str, Any]] = [
        {"release": "a"},
        {"release": "b", "restore_point": {**point, "name": "b"}},
        {"release": "c", "status": "failed", "restore_point": {**point, "name": "c"}},
        {"release": "d", "restore_point": {**point, "name": "d"}},
    ]
    assert restore.before(lines, "b")["name"] == "c"
    assert restore.before(lines, "a")["name"] == "b"
    later = {"release": "e", "restore_point": {**point, "name": "e"}}
    returned = {"release": "d", "to": "a", "status": "rolled_back"}
    assert restore.before([*lines, returned, later], "a")["name"] == "e"
    for release, said in (("d", "nothing has migrated since"), ("c", "has never served")):
        with pytest.raises(Failed, match=said):
            restore.before(lines, release)


CONFIG = {
    "stanza": "main",
    "repositories": [
        {"name": "local", "key": 1, "kind": "local"},
        {"name": "away", "key": 2, "kind": "ssh", "host": "store"},
    ],
    "scratch": "/nowhere",
}


def test_a_stanza_that_is_half_there_is_told_from_one_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = [{"repo": [{"status": {"code": 3, "message": "missing stanza data"}}]}]
    monkeypatch.setattr(Stanza, "ask", lambda *_: json.dumps(said))
    here = Stanza(CONFIG | {"state": "/nowhere"})
    with pytest.raises(Failed, match="repository local has an incomplete stanza"):
        here.info(here.repositories[0])


def test_what_came_of_it_is_kept_for_status_and_for_prometheus(tmp_path: Path) -> None:
    here = Stanza(CONFIG | {"state": str(tmp_path)})
    here.note("local", backup_ok=True, backup={"ended": 5, "seconds": 1.5, "size": 7, "stored": 3})
    here.note("away", drill={"ok": False, "said": "no", "ended": 6, "seconds": 2})
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["repositories"]["local"]["backup"]["size"] == 7
    assert state["repositories"]["away"]["drill"]["said"] == "no"
    since = state["repositories"]["away"]["since"]
    here.note("away", backup_ok=False)
    assert here.state()["repositories"]["away"]["since"] == since
    lines = (tmp_path / "metrics.prom").read_text().splitlines()
    assert 'slipway_backup_timestamp_seconds{repository="local"} 5' in lines
    assert 'slipway_backup_ok{repository="local"} 1' in lines
    assert 'slipway_drill_ok{repository="away"} 0' in lines
    assert "# TYPE slipway_drill_ok gauge" in lines
    assert not any("proven" in line for line in lines)
    assert (tmp_path / "metrics.prom").stat().st_mode & 0o777 == 0o644


def test_a_repository_away_is_told_what_it_needs_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = """\
[global]
compress-type=zst
cmd-ssh=/somewhere
repo1-path=/here
repo1-cipher-pass=other=one
repo2-path=/there
repo2-host=away
repo2-host-user=keeper
repo2-cipher-pass=a=b # c

[main]
pg1-path=/data
pg1-socket-path=/run
"""
    (tmp_path / "conf").write_text(text)
    monkeypatch.setattr(stanza, "PGBACKREST", (tmp_path / "conf",))
    here = Stanza(CONFIG | {"state": "/nowhere"})
    assert tunnel.configuration(here, here.repositories[1]).splitlines() == [
        "[global]",
        "lock-path=filled in there",
        "compress-type=zst",
        "repo1-path=/there",
        "repo1-cipher-pass=a=b # c",
        "[main]",
        "pg1-host=way-back",
        "pg1-path=/data",
        "pg1-socket-path=/run",
    ]


REMOTE = "pgbackrest --exec-id=1-2 --log-level-stderr=error --pg1-path=/data --process=0 --remote-type=pg --stanza=main"


def test_the_way_back_is_for_this_stanzas_backups_alone() -> None:
    here = Stanza(CONFIG | {"state": "/nowhere"})
    assert tunnel.allowed(f"{REMOTE} backup:remote\n", here)[0] == "/usr/bin/pgbackrest"
    for line in (
        f"{REMOTE} restore:remote",
        f"{REMOTE} backup",
        f"{REMOTE.replace('--stanza=main', '--stanza=other')} backup:remote",
        f"{REMOTE} --config=/tmp/x backup:remote",
        f"{REMOTE} --repo1-path=/ backup:remote",
        f"{REMOTE} --pg1-host=elsewhere backup:remote",
        f"{REMOTE} --cmd-ssh=/bin/sh backup:remote",
        "sh -c 'backup:remote'",
    ):
        with pytest.raises(Failed, match="serves no backup"):
            tunnel.allowed(line, here)


# --- Timelines, and what a restore over the live server leaves --------------------------------


class Held(Stanza):
    """A stanza whose repositories hold what a test says."""

    def __init__(self, state: Path, names: list[str] | None = None, **said: Any) -> None:
        super().__init__(CONFIG | {"state": str(state)})
        self.names, self.said, self.asked = names or [], said, list[str]()

    def archived(self, repository: Repository, look: stanza.Look) -> list[str]:
        """Return the paths of the archive."""
        return self.names

    def info(self, repository: Repository) -> tuple[int, dict[str, Any]]:
        """Return what it says of a repository."""
        found: tuple[int, dict[str, Any]] = self.said[repository.name]
        return found

    def ask(self, *arguments: str, **options: Any) -> str:
        """Note what is asked."""
        self.asked += arguments
        return ""


def test_a_timeline_without_its_history_is_known_by_its_segments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    second = backup("2", "000000020000000000000007", "000000020000000000000007", "0/7000100", 3000)
    look = stanza.Look([FULL, DIFF, second], "17-1")
    segments = ("000000010000000000000002", "000000010000000000000003", "000000020000000000000007")
    names = [name for name in wal(*segments) if "history" not in name]

    def chosen(*more: str) -> str:
        here = Held(tmp_path, ["0000000200000000", *names, *more])
        return str(targets.choose(here, here.repositories[0], look, Target())["label"])

    monkeypatch.setattr(targets, "run", lambda *_, **__: pytest.fail("there is no history"))
    assert chosen() == "2"
    left = type("Done", (), {"stdout": "1\t0/5000000\tno recovery target specified\n"})
    monkeypatch.setattr(targets, "run", lambda *_, **__: left)
    assert chosen("00000002.history") == "2"
    look.backups.remove(second)
    assert chosen("00000002.history") == "F"


def there(system: int, version: str = "17", *of: int) -> tuple[int, dict[str, Any]]:
    """Return what pgBackRest says of a repository that has the stanza of a server, and backups of some."""
    return 0 if of else 2, {
        "db": [{"id": 1, "system-id": 1, "version": "15"}, {"id": 2, "system-id": system, "version": version}],
        "backup": [{"database": {"id": one}} for one in of],
    }  # fmt: skip


def test_the_stanza_is_made_where_it_is_not_and_what_has_no_backup_is_told(tmp_path: Path) -> None:
    here = Held(tmp_path, local=there(7, "17", 2), away=(1, {}))
    assert stanza.prepare(here, "7", "17", "on") == (["away"], ["away"])
    assert here.asked == ["stanza-create"]
    # As a run that was cut off, or a backup that failed, has left it.
    for cut in (there(7), there(7, "17", 1)):
        here = Held(tmp_path, local=there(7, "17", 2), away=cut)
        assert stanza.prepare(here, "7", "17", "on") == ([], ["away"])
        assert here.asked == []


def test_the_stanza_follows_the_server_to_another_version(tmp_path: Path) -> None:
    here = Held(tmp_path, local=there(7, "16", 2), away=there(7, "16", 2))
    # On a host that has not backed it up, it is another one's.
    with pytest.raises(
        Failed, match=r"of another server, of PostgreSQL 16, and the one here is of 17"
    ):
        stanza.prepare(here, "8", "17", "on")
    (tmp_path / "state.json").write_text('{"stanza": "main"}')
    assert stanza.prepare(here, "8", "17", "on") == (["local", "away"], ["local", "away"])
    assert here.asked == ["stanza-upgrade"]


def test_without_an_archive_or_with_that_of_another_server_nothing_is_made(tmp_path: Path) -> None:
    here = Held(tmp_path, local=(1, {}), away=there(7))
    (tmp_path / "state.json").write_text('{"stanza": "main"}')
    for archives, said in (("off", "-e postgresql_restart=true"), ("on", "-e live=main, and then")):
        with pytest.raises(Failed, match=said):
            stanza.prepare(here, "8", "17", archives)
    assert here.asked == []


class Service:
    """A live server, as far as a restore over it needs one; what it holds is in a folder."""

    service = "postgresql"

    def __init__(self, data: Path) -> None:
        self.data, self.answers = data, True

    def settle(self) -> str:
        """Tell where it is."""
        return "0/10"

    def query(self, statement: str) -> str:
        """Answer which server it is, or what it archives by."""
        return "7" if "system_identifier" in statement else "/bin/true"


@dataclass
class Stage:
    """What a restore over the live server does, without one."""

    live: Service
    plan: restore.Plan
    calls: list[tuple[str, ...]]
    refuse: set[str]

    def over(self, keep: bool = True) -> dict[str, Any]:
        """Restore."""
        return restore.over(self.plan, ["shop"], [], keep, self.live.data.parent)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    """Return a restore over a live server whose data is a folder with a file."""
    data = tmp_path / "main"
    for name in ("PG_VERSION", "global/pg_control", "pg_tblspc/.keep"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("old")
    (data / "pg_tblspc/.keep").unlink()
    here = Held(tmp_path, local=there(7))
    plan = restore.Plan(here, Target(), here.repositories[0], FULL | {"info": {"size": 1}})
    made = Stage(Service(data), plan, [], set())

    def systemctl(verb: str, *words: str) -> None:
        made.calls.append((verb, *words))
        if made.refuse & {" ".join((verb, *words)), verb}:
            raise Failed(f"{verb} {words[-1]} failed")

    def replaced(*_: Any) -> dict[str, Any]:
        (data / "PG_VERSION").write_text("new")
        if "replace" in made.refuse:
            raise Failed("no way")
        return {"lsn": "0/20"}

    monkeypatch.setattr(restore, "Live", lambda _: made.live)
    monkeypatch.setattr(restore, "units", lambda _: {"shop@blue.service": "shop"})
    monkeypatch.setattr(restore, "systemctl", systemctl)
    monkeypatch.setattr(restore, "replace", replaced)
    monkeypatch.setattr(
        restore, "run", lambda *command, root=False: stanza.run(*command, root=True)
    )
    return made


def held(stage: Stage) -> tuple[str, list[str]]:
    """Return what the data is, and the folders beside it."""
    data = stage.live.data
    beside = sorted(path.name for path in data.parent.iterdir() if path.name.startswith("main"))
    return (data / "PG_VERSION").read_text(), beside


@pytest.mark.parametrize("fails", ["replace", "start postgresql"])
def test_a_restore_that_fails_puts_back_what_was_kept(stage: Stage, fails: str) -> None:
    stage.refuse.add(fails)
    with pytest.raises(Failed) as failed:
        stage.over()
    assert failed.value.__notes__ == ["What there was is in its place again."]
    assert held(stage) == ("old", ["main"])
    assert stage.calls[-3:] == [
        ("stop", "postgresql"),
        ("start", "postgresql"),
        ("start", "shop@blue.service"),
    ]


def test_a_restore_that_fails_with_nothing_kept_says_so_and_serves_nothing(stage: Stage) -> None:
    stage.refuse.add("replace")
    with pytest.raises(Failed) as failed:
        stage.over(keep=False)
    assert "Nothing was kept aside, and the server stays stopped" in failed.value.__notes__[0]
    assert ("start", "postgresql") not in stage.calls


def test_an_application_that_does_not_start_is_no_failure_of_the_restore(stage: Stage) -> None:
    stage.refuse.add("start shop@blue.service")
    found = stage.over()
    assert found["not_started"] == "start shop@blue.service failed"
    assert held(stage) == ("new", ["main"])


def test_without_an_archive_no_backup_of_it_is_promised(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ("start", "--no-block", "slipway-backup@incr.service")
    assert stage.over()["backed_up"] is False and start not in stage.calls
    monkeypatch.setattr(stage.live, "query", lambda _: "pgbackrest --stanza=main archive-push %p")
    assert stage.over()["backed_up"] is True and start in stage.calls


def test_remains_are_kept_only_if_they_are_to_be(stage: Stage) -> None:
    (stage.live.data / "global/pg_control").unlink()
    data = restore.Data(stage.live, keep=False)  # type: ignore[arg-type]
    data.put_aside(1)
    assert list(stage.live.data.iterdir()) == [] and data.done == "given up"
    (stage.live.data / "PG_VERSION").write_text("old")
    data = restore.Data(stage.live, keep=True)  # type: ignore[arg-type]
    data.put_aside(1)
    (stage.live.data / "PG_VERSION").write_text("half")
    assert data.put_back() == "What there was is in its place again."
    assert held(stage) == ("old", ["main"])


def test_a_disk_that_is_mounted_there_is_not_kept_aside(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    with pytest.raises(Failed, match=r"where a disk is mounted.*-e aside=false") as failed:
        stage.over()
    assert failed.value.__notes__ == ["What there was is in its place again."]
    stage.over(keep=False)


def test_what_can_not_be_archived_says_how_to_do_without(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck() -> str:
        raise Failed("the server did not archive 0001")

    monkeypatch.setattr(stage.live, "settle", stuck)
    with pytest.raises(Failed, match="stop the server first: systemctl stop postgresql"):
        stage.over()
    assert ("stop", "postgresql") not in stage.calls
    # Beside it, what is older than that can be had.
    monkeypatch.setattr(restore, "remove", lambda _: pytest.fail("it goes on"))
    with pytest.raises(Failed, match="did not archive"):
        restore.beside(stage.plan)
    earlier = replace(stage.plan, target=Target("time", "2026-11-28 11:30:00.000000+00"))
    with pytest.raises(pytest.fail.Exception, match="it goes on"):
        restore.beside(earlier)


def test_of_another_server_than_that_of_the_backups_nothing_is_archived_before(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.live, "settle", lambda: pytest.fail("it would never be archived"))
    monkeypatch.setattr(stage.plan.stanza, "said", {"local": there(8)})
    assert stage.over()["lsn"] == "0/20"


def test_what_the_database_has_no_more_is_migrated_again_and_leaves_no_point(
    tmp_path: Path,
) -> None:
    def release(name: str, *files: str) -> Path:
        folder = tmp_path / "shop/releases" / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).touch()
        return folder

    gone = release("aaaa", "migrated", "restore_point")
    failed = release("bbbb", "restore_point")
    stays = release("cccc", "migrated", "restore_point")
    at = {"aaaa": "0/30", "bbbb": "0/40", "cccc": "0/50"}
    known = [{"app": "shop", "release": name, "lsn": position} for name, position in at.items()]
    # Released anew since, on the timeline that began before it.
    known.append({"app": "shop", "release": "cccc", "lsn": "0/20"})
    assert restore.forget(known, "0/28", tmp_path) == ["shop aaaa"]
    assert list(gone.iterdir()) == list(failed.iterdir()) == []
    assert len(list(stays.iterdir())) == 2
