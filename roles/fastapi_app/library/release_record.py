#!/usr/bin/python
"""Record releases on the board."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_record
short_description: Tell the board of releases
description:
  - The board is the application that keeps the log of deployments. It is asked on its socket, as Nginx does it.
options:
  socket: {type: path, required: true, description: The board's socket.}
  board: {type: str, required: true, description: Its host name.}
  token: {type: str, required: true, description: 'Its API token, a secret.'}
  host: {type: str, required: true, description: The name of this host.}
  releases:
    type: list
    elements: dict
    required: true
    description: >-
      What releases.jsonl says: app, release, version, status, started_at, finished_at; message where it failed;
      to where it was rolled back.
"""

RETURN = r"""
recorded:
  description: What was written down, each with its C(app) and its C(id) on the board.
  type: list
  elements: dict
  returned: always
"""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release.systemd import UnixConnection


class Board:
    """The board's API."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._path = Path(given["socket"])
        self._headers = {
            "Host": given["board"],
            "X-Forwarded-Proto": "https",
            "Authorization": f"Bearer {given['token']}",
            "Content-Type": "application/json",
        }

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return what the board answers.

        Raises:
            OSError: It can't be reached, or refuses.
        """
        connection = UnixConnection(self._path, timeout=5)
        try:
            connection.request(
                method, f"/api/deployments{path}", json.dumps(body) if body else None, self._headers
            )
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(f"the board's answer is cut off: {error!r}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise OSError(
                f"the board answered {response.status} to {method} /api/deployments{path}: {text[:300]}"
            )
        return json.loads(text)


def record(board: Board, host: str, line: dict[str, Any]) -> int:
    """Write one release down, and return its id on the board.

    What was taken back is marked, and what serves again is a deployment of its own.
    """
    release = line["release"]
    if line["status"] == "rolled_back":
        page = board.ask("GET", "?" + urlencode({"app": line["app"], "host": host, "limit": 200}))
        served = [
            one["id"]
            for one in page["items"]
            if one["release"] == release and one["status"] == "succeeded"
        ]
        if served:
            board.ask("PATCH", f"/{served[0]}", {"status": "rolled_back"})
        release = line["to"]
    new = {"app": line["app"], "host": host, "release": release, "version": line["version"] or None}
    started = board.ask("POST", "", new | {"started_at": line["started_at"] or None})
    failed = line["status"] == "failed"
    end = {"status": "failed" if failed else "succeeded", "finished_at": line["finished_at"]}
    if message := "".join(
        sign if sign >= " " or sign in "\n\t" else " " for sign in line.get("message", "")
    )[:2000]:
        end["message"] = message
    board.ask("PATCH", f"/{started['id']}", end)
    return int(started["id"])


def main() -> None:
    """Run as an Ansible module."""
    spec: dict[str, Any] = {
        "socket": {"type": "path", "required": True},
        "board": {"type": "str", "required": True},
        "token": {"type": "str", "required": True, "no_log": True},
        "host": {"type": "str", "required": True},
        "releases": {"type": "list", "elements": "dict", "required": True},
    }
    module = AnsibleModule(argument_spec=spec)
    board = Board(module.params)
    recorded: list[dict[str, Any]] = []
    try:
        for line in module.params["releases"]:
            number = record(board, module.params["host"], line)
            recorded.append({"app": line["app"], "id": number})
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), recorded=recorded)
    module.exit_json(changed=False, recorded=recorded)


if __name__ == "__main__":
    main()
