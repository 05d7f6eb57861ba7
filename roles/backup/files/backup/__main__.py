#!/usr/bin/python3
"""Backups of this host's PostgreSQL: taken, proven and restored. Managed by Slipway; changes are overwritten.

backup run full|diff|incr         into each repository; what slipway-backup@<type>.service does
backup drill [--repository NAME]       prove one, or that whose turn it is; what slipway-drill.service does
backup prepare                    make the stanza where it isn't, and say which repositories have no backup
backup plan TO                    say what a restore would do, as JSON
backup restore TO                 do it, beside the live server or (--live) over it
backup remove                     drop the server beside the live one
backup back APP RELEASE           say what a return to an earlier release's database loses, as JSON
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import restore
from drill import drill
from server import Live
from stanza import Failed, Stanza, prepare, take

IDENTITY = (
    "SELECT system_identifier, current_setting('server_version_num')::int / 10000,"
    " current_setting('archive_mode') FROM pg_control_system()"
)


def arguments() -> argparse.Namespace:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(prog="backup")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("run").add_argument("type", choices=("full", "diff", "incr"))
    verbs.add_parser("drill").add_argument("--repository", default="")
    verbs.add_parser("prepare")
    verbs.add_parser("remove")
    back = verbs.add_parser("back")
    back.add_argument("app")
    back.add_argument("release")
    for verb in (verbs.add_parser("plan"), verbs.add_parser("restore")):
        verb.add_argument("to")
        verb.add_argument("--repository", default="")
        verb.add_argument("--live", default="", help="the stanza's name")
        verb.add_argument("--stop", nargs="*", default=[], help="applications to stop meanwhile")
        verb.add_argument("--leave", nargs="*", default=[], help="those not to start again")
        verb.add_argument("--no-aside", action="store_true")
    for verb in verbs.choices.values():
        verb.add_argument("--root", type=Path, default="/srv", help="of the applications' folders")
    return parser.parse_args()


def main() -> int:
    """Do what is asked for; return 1 if it failed, with the reason as the last line."""
    given = arguments()
    os.umask(0o022)
    try:
        stanza = Stanza.here()
        match given.verb:
            case "run":
                take(stanza, given.type)
            case "drill":
                drill(stanza, given.repository)
            case "prepare":
                made, bare = prepare(stanza, *Live(stanza).query(IDENTITY).split("|"))
                print("made:", *made)
                print("without a backup:", *bare)
            case "remove":
                print(json.dumps({"removed": restore.remove(stanza)}))
            case "back":
                print(json.dumps(restore.back(stanza, given.root, given.app, given.release)))
            case "plan" | "restore":
                if given.live not in ("", stanza.name):
                    raise Failed(f"live is {given.live}, and the server here is {stanza.name}")
                plan = restore.plan(stanza, given.to, given.repository, given.root)
                said = plan.told()
                if given.verb == "restore" and given.live:
                    said |= restore.over(
                        plan, given.stop, given.leave, not given.no_aside, given.root
                    )
                elif given.verb == "restore":
                    said |= restore.beside(plan)
                print(json.dumps(said))
    except (Failed, OSError, ValueError) as error:
        print(error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
