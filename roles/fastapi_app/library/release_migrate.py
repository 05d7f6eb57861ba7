#!/usr/bin/python
"""Prepare the database for a release, once, and see that what serves bears it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_migrate
short_description: Run an application's migrations
description:
  - Runs the commands in the idle slot, one run at a time in the whole database (an advisory lock), with limits on how
    long a statement may take and wait for a lock. They are settings of the role, so that they hold with every driver.
  - Then the release that serves is asked for its health, on the new schema.
  - Before them, where PostgreSQL archives its WAL, it is given a restore point named after the release, to which its
    database can go back.
  - Where a command fails, what it has left in the database is said.
options:
  app: {type: str, required: true, description: The application.}
  root: {type: path, required: true, description: The folder under which each application has its own.}
  run: {type: str, required: true, description: The run's id.}
  slot: {type: str, required: true, choices: [blue, green], description: The idle slot.}
  database: {type: str, required: true, description: The database's name.}
  address: {type: str, default: '', description: 'The address of its host, if that is another one.'}
  authority: {type: str, default: '', description: 'The file with the authority that vouches for that host.'}
  password: {type: str, default: '', description: 'The password there, a secret.'}
  commands: {type: list, elements: dict, required: true, description: 'The commands: run, and as (owner or app).'}
  environment: {type: str, required: true, description: The text of the owner's environment.}
  secrets: {type: str, default: '', description: 'The secrets that the owner gets as files, as JSON.'}
  generated: {type: bool, default: false, description: Whether it has secrets of the host's making in its environment.}
  credentials: {type: list, elements: str, default: [], description: Names of all that it gets as files.}
  sandbox: {type: list, elements: str, required: true, description: 'What systemd keeps them to, as Name=value.'}
  timeout: {type: int, required: true, description: 'Seconds that each command may take, and each statement in it.'}
  lock_timeout: {type: int, required: true, description: Seconds that a statement may wait for a lock.}
  marker: {type: str, required: true, description: 'What to write into the release once all is done.'}
  host: {type: str, required: true, description: The host name that is asked for.}
  health: {type: str, required: true, description: The path that answers 200.}
  check_serving: {type: bool, default: true, description: Whether the release that serves must be healthy afterwards.}
"""

RETURN = r"""
output: {description: What the commands printed., type: str}
restore_point: {description: 'What the database can go back to: name, lsn, time; empty without an archive.', type: dict}
"""

import difflib
import json
import os
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import private, slots, systemd
from ansible.module_utils.slipway_release.module import Application, run_step

# All that a migration can leave, but for rows; read without a lock, since one may be what it failed at.
SCHEMA = r"""
SELECT format('%s %s.%s', kind, nspname, what) FROM (
  SELECT relnamespace,
         CASE WHEN relkind IN ('r', 'p') THEN 'table' WHEN relkind IN ('v', 'm') THEN 'view'
              WHEN relkind = 'S' THEN 'sequence' ELSE 'index' END AS kind,
         relname || CASE WHEN indisvalid IS FALSE THEN ' (invalid)' ELSE '' END AS what
  FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'i', 'I')
  UNION ALL
  SELECT relnamespace, 'column', format('%s.%s %s%s', relname, attname, format_type(atttypid, atttypmod),
           CASE WHEN attnotnull THEN ' not null' ELSE '' END)
  FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
  WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm')
  UNION ALL
  SELECT connamespace, 'constraint',
         format('%s on %s%s', conname, relname, CASE WHEN convalidated THEN '' ELSE ' (not valid)' END)
  FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
  UNION ALL
  SELECT typnamespace, 'type', typname FROM pg_type WHERE typtype IN ('e', 'd', 'r')
  UNION ALL
  SELECT pronamespace, 'function', proname FROM pg_proc
) AS found JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
ORDER BY 1;
"""
DONE = "-- slipway: done"
# The server asks for the right to call a function even where the call would never come.
MAY_MARK = "SELECT has_function_privilege('pg_create_restore_point(text)', 'EXECUTE');"
# With what tells later how much has come since. Nothing where WAL goes nowhere.
RESTORE_POINT = """
SELECT json_build_object(
  'name', '{name}', 'lsn', pg_create_restore_point('{name}'), 'timeline', timeline_id, 'database', datname,
  'time', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"+00:00"'),
  'xid', pg_snapshot_xmax(pg_current_snapshot())::text, 'rows', tup_inserted + tup_updated + tup_deleted)
FROM pg_control_checkpoint(), pg_stat_database
WHERE datname = current_database() AND current_setting('archive_mode') <> 'off'
  AND current_setting('archive_command') NOT IN ('', '(disabled)', '/bin/true');
"""


class Database:
    """A session of the role that migrates. What it holds, such as an advisory lock, ends with it."""

    def __init__(self, user: str, name: str, **remote: str) -> None:
        """Log in, by the socket or, with ``PGHOST`` and the like, to another host."""
        command = (
            "runuser",
            "--user",
            user,
            "--",
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "--dbname",
            name,
        )
        self._psql = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env=os.environ | {"PGCONNECT_TIMEOUT": "10"} | remote,
        )

    def ask(self, sql: str) -> list[str]:
        """Return the lines that a statement gives.

        Raises:
            Failed: The session has ended, or the statement failed.
        """
        assert self._psql.stdin and self._psql.stdout
        lines: list[str] = []
        try:
            self._psql.stdin.write(f"{sql}\n\\echo '{DONE}'\n")
            self._psql.stdin.flush()
        except BrokenPipeError:
            raise systemd.Failed(self._psql.stdout.read().strip()) from None
        for line in self._psql.stdout:
            if line.strip() == DONE:
                if errors := [said for said in lines if "ERROR:" in said]:
                    raise systemd.Failed(errors[0])
                return lines
            lines.append(line.rstrip("\n"))
        raise systemd.Failed("\n".join(lines) or "psql ended without a word")

    def close(self) -> None:
        """End the session."""
        assert self._psql.stdin
        self._psql.stdin.close()
        self._psql.wait()


def do(module: AnsibleModule, app: Application) -> dict[str, Any]:
    """Migrate, mark the release, and look at what serves."""
    given = module.params
    if module.check_mode:
        return {"changed": True}
    slot = app.slot(given["slot"])
    slots.write(slot / "environment.migrate", given["environment"], 0o600, 0)
    owners = private.files(slot / "secrets") | json.loads(given["secrets"] or "{}")
    private.write(slot / "secrets.migrate", owners)
    migrator, remote = f"{app.name}_migrator", {}
    if given["address"]:
        tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": given["authority"]}
        remote = {
            "PGHOST": given["address"],
            "PGUSER": migrator,
            "PGPASSWORD": given["password"],
        } | tls
    database = Database(migrator, given["database"], **remote)
    try:
        for name in ("lock_timeout", "statement_timeout"):
            seconds = given["lock_timeout" if name == "lock_timeout" else "timeout"]
            # Of the role that logs in: the session acts as the owner, who never does.
            database.ask(
                f"SET ROLE NONE; ALTER ROLE CURRENT_USER SET {name} = '{seconds}s'; RESET ROLE;"
            )
        # Whoever else migrates this database, and from which host: one at a time.
        if database.ask(
            "SELECT pg_try_advisory_lock(hashtext('slipway'), hashtext(current_database()));"
        ) != ["t"]:
            raise systemd.Failed(
                f"somebody else migrates the database {given['database']}; wait for its end, and run this again"
            )
        point = restore_point(database, app, given["slot"])
        before = database.ask(SCHEMA)
        output = ""
        for number, command in enumerate(given["commands"], 1):
            try:
                output += migrate(app, given, number, command)
            except systemd.Failed as error:
                raise systemd.Failed(
                    explained(number, command, given, str(error), before, database.ask(SCHEMA))
                ) from None
    finally:
        database.close()
    check_serving(app, given)
    marker = app.slot(given["slot"]).joinpath("release").resolve() / "migrated"
    slots.write(marker, given["marker"] + "\n", 0o640, app.group)
    return {"changed": True, "output": output, "restore_point": point}


def restore_point(database: Database, app: Application, slot: str) -> dict[str, Any]:
    """Have the server note where it is in its WAL, and return that; empty where no WAL is kept.

    So it is where site.yml has not given the right yet: whatever keeps WAL comes after that.
    """
    # As the role that logs in, which may do this: the owner, whom it acts as, may not.
    database.ask("SET ROLE NONE;")
    said = []
    if database.ask(MAY_MARK) == ["t"]:
        said = database.ask(RESTORE_POINT.format(name=f"{app.name}_{app.release(slot)}"))
    if said:
        database.ask("SELECT pg_switch_wal();")
    database.ask("RESET ROLE;")
    if not said:
        return {}
    marker = app.slot(slot).joinpath("release").resolve() / "restore_point"
    slots.write(marker, said[0] + "\n", 0o640, app.group)
    point: dict[str, Any] = json.loads(said[0])
    return point


def migrate(app: Application, given: dict[str, Any], number: int, command: dict[str, str]) -> str:
    """Run one command in the idle slot, and return what it printed."""
    slot, owner = app.slot(given["slot"]), command["as"] == "owner"
    kind = ".migrate" if owner else ""
    credentials = (
        f"--property=LoadCredential={name}:{slot}/secrets{kind}/{name}"
        for name in given["credentials"]
    )
    output = systemd.run(
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"),
        f"--unit={app.name}-migrate.service",
        f"--uid={app.name}{'_migrator' if owner else ''}",
        f"--property=Group={app.name}",
        f"--property=WorkingDirectory={slot}/release/src",
        f"--property=EnvironmentFile={slot}/environment{kind}",
        *([f"--property=EnvironmentFile={slot}/generated"] if given["generated"] else []),
        *credentials,
        f"--property=RuntimeMaxSec={given['timeout']}",
        *(f"--property={line}" for line in given["sandbox"]),
        f"--setenv=PATH={slot}/release/venv/bin:/usr/bin:/bin",
        *("/bin/sh", str(slot / "commands"), f"migrate.{number}"),
    )
    return str(output)


def explained(
    number: int,
    command: dict[str, str],
    given: dict[str, Any],
    error: str,
    before: list[str],
    after: list[str],
) -> str:
    """Return what failed, and what it has left."""
    lines = error.splitlines()
    said = "\n  ".join(["…", *lines[-12:]] if len(lines) > 12 else lines)
    text = (
        f"migrate command {number} of {len(given['commands'])} failed: {command['run']}\n  {said}\n"
    )
    if "lock timeout" in error:
        seconds = given["lock_timeout"]
        text += f"Somebody else held the lock for {seconds} s (fastapi_app_migrate_lock_timeout).\n"
    left = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    if not left:
        return f"{text}The tables of the database {given['database']} are as they were."
    return "\n  ".join([f"{text}It has left in the database {given['database']}:", *left[:30]])


def check_serving(app: Application, given: dict[str, Any]) -> None:
    """Refuse a schema that the serving release does not bear.

    Raises:
        Failed: It is not healthy.
    """
    if not given["check_serving"] or not app.live:
        return
    if trouble := systemd.wait_for_health(
        app.socket(app.live), given["host"], given["health"], seconds=5
    ):
        raise systemd.Failed(
            f"release {app.release(app.live)}, which serves, is not healthy on the migrated database: {trouble}\n"
            "The migration stays. To go on in spite of that, which fails what it still answers until the switch: "
            "-e fastapi_app_check_serving=false"
        )


if __name__ == "__main__":
    run_step(
        "migrate",
        {
            "slot": {"type": "str", "required": True, "choices": ["blue", "green"]},
            "database": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "authority": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "commands": {"type": "list", "elements": "dict", "required": True},
            "environment": {"type": "str", "required": True, "no_log": True},
            "secrets": {"type": "str", "default": "", "no_log": True},
            "generated": {"type": "bool", "default": False},
            "credentials": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "sandbox": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "required": True},
            "lock_timeout": {"type": "int", "required": True},
            "marker": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "health": {"type": "str", "required": True},
            "check_serving": {"type": "bool", "default": True},
        },
        do,
    )
