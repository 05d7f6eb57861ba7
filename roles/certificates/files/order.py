#!/usr/bin/python3
"""Order certificates from an ACME authority, and have Nginx serve them. Managed by Slipway; changes are overwritten.

    order [--config FILE]                  renew what has less than a third of its life left, or failed before
    order [--config FILE] NAME ...         order these now

certbot does the ordering, with folders of its own that no other certbot on the host looks at. What came of it is in
``state/<name>.json``: when it was tried, whether it went well, and the authority's words. A certificate that is served
goes on being served until there is another which Nginx takes.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LEFT = 1 / 3  # of its life: 30 of 90 days, as Let's Encrypt advises
SAID = 700  # characters of certbot's words that are kept
# What certbot says besides, whatever has happened.
BOILERPLATE = re.compile(
    r"Saving debug log|Plugins selected|Requesting a cert|Renewing an existing|Account registered|Ask for help"
    r"|Some challenges|See the logfile|Hint:|Certbot failed to authenticate|^-( -)+"
    r"|The Certificate Authority failed to download|The Certificate Authority failed to verify"
)

Leaf = dict[str, Any]


def life(path: Path) -> tuple[float, float, str]:
    """Return when a certificate begins and ends, in seconds since 1970, and its serial number; zeros for none."""
    command = ["openssl", "x509", "-noout", "-startdate", "-enddate", "-serial", "-in", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if done.returncode or not {"notBefore", "notAfter", "serial"} <= said.keys():
        return 0, 0, ""
    begins, ends = (ssl.cert_time_to_seconds(said[key]) for key in ("notBefore", "notAfter"))
    return begins, ends, said["serial"]


def near_its_end(path: Path, now: float) -> bool:
    """Tell whether a certificate has less than a third of its life left, or isn't there."""
    begins, ends, _ = life(path)
    return ends - now < (ends - begins) * LEFT


def words(output: str) -> str:
    """Return what certbot has said that is to the point, as one line."""
    lines = [line.strip() for line in output.splitlines()]
    told = [line for line in lines if line and not BOILERPLATE.search(line)]
    return " ".join(" ".join(told).split())[:SAID] or "certbot said nothing"


class Order:
    """All that is ordered on this host, and how."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.folder = Path(config["folder"])
        self.state = Path(config["state"])
        self.leaves: dict[str, Leaf] = {}
        for leaf in config["leaves"]:
            asked = " ".join([config["directory"], *leaf["domains"]])
            digest = hashlib.sha256(asked.encode()).hexdigest()[:12]
            self.leaves[leaf["name"]] = {"challenge": "http", **leaf, "digest": digest}

    def known(self, name: str) -> dict[str, Any]:
        """Return what came of the last try."""
        try:
            said: dict[str, Any] = json.loads((self.state / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}
        return said

    def note(self, name: str, said: dict[str, Any]) -> None:
        """Keep what came of a try."""
        path = self.state / f"{name}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(said) + "\n")
        new.replace(path)

    def served(self, name: str) -> str:
        """Return the folder that a leaf serves."""
        try:
            return str((Path(self.config["tls"]) / name / "now").readlink())
        except OSError:
            return ""

    def due(self, name: str, leaf: Leaf, now: float) -> bool:
        """Tell whether a leaf has to be ordered."""
        wanted = self.served(name).startswith(f"acme-{leaf['digest']}-")
        path = Path(self.config["tls"]) / name / "fullchain.pem"
        return not wanted or not self.known(name).get("ok") or near_its_end(path, now)

    def certbot(self, name: str, leaf: Leaf) -> tuple[bool, str]:
        """Order a certificate, and return whether it came, and what was said."""
        config = self.config
        command = [
            *("certbot", "certonly", "--non-interactive", "--agree-tos", "--cert-name", name),
            *("--config-dir", str(self.folder), "--work-dir", f"{self.state.parent}/work"),
            *("--logs-dir", config["logs"], "--max-log-backups", "20"),
            *(
                "--server",
                config["directory"],
                "--key-type",
                "ecdsa",
                "--elliptic-curve",
                "secp256r1",
            ),
            *("--force-renewal", "--renew-with-new-domains", "--break-my-certs"),
            "--no-directory-hooks",
        ]
        if config["email"]:
            command += ["--email", config["email"], "--no-eff-email"]
        else:
            command += ["--register-unsafely-without-email"]
        if leaf["challenge"] == "dns":
            record = '"_acme-challenge.$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION"'
            hook = f"{self.folder}/hooks/{name}"
            command += ["--manual", "--preferred-challenges", "dns"]
            command += ["--manual-auth-hook", f"{hook} set {record}"]
            command += ["--manual-cleanup-hook", f"{hook} clean {record}"]
        else:
            command += ["--webroot", "--webroot-path", config["webroot"]]
        for domain in leaf["domains"]:
            command += ["--domain", domain]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        if config["ca_bundle"]:
            environment["REQUESTS_CA_BUNDLE"] = config["ca_bundle"]
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=config["timeout"],
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False, f"no end within {config['timeout']} s"
        return done.returncode == 0, words(done.stdout)

    def serve(self, name: str, leaf: Leaf) -> tuple[bool, str]:
        """Have Nginx serve what has come, if it takes it."""
        lineage = self.folder / "live" / name
        serial = life(lineage / "cert.pem")[2]
        folder = f"acme-{leaf['digest']}-{serial[-12:].lower()}"
        pem = (lineage / "privkey.pem").read_bytes() + (lineage / "fullchain.pem").read_bytes()
        command = ["sh", self.config["put"], name, folder, "nginx -t -q"]
        done = subprocess.run(command, input=pem, capture_output=True, check=False)
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())
            return False, f"the certificate came, but 'nginx -t' refuses: {said}"[:SAID]
        command = ["systemctl", "try-reload-or-restart", "nginx.service"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            return (
                False,
                "the certificate came, but Nginx could not be reloaded; 'journalctl -u nginx' says why",
            )
        Path("/run/nginx.slipway").touch()  # what a run of the role nginx goes by
        return True, ""

    def order(self, name: str, leaf: Leaf, now: float) -> tuple[bool, str]:
        """Order one certificate and have it served; one that came before and isn't served yet isn't ordered again."""
        before = self.known(name)
        lineage = self.folder / "live" / name / "cert.pem"
        waiting = (
            before.get("digest") == leaf["digest"]
            and not near_its_end(lineage, now)
            and not self.served(name).endswith(life(lineage)[2][-12:].lower())
        )
        ok, said = (True, "") if waiting else self.certbot(name, leaf)
        digest = leaf["digest"] if ok else ""
        if ok:
            ok, said = self.serve(name, leaf)
        self.note(name, {"at": now, "ok": ok, "said": said, "digest": digest})
        return ok, said


def main() -> int:
    """Order what is asked for, one after the other, whatever becomes of each; return 1 if any failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, default="/etc/slipway/acme/order.json")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    config = json.loads(given.config.read_text())
    os.umask(0o022)
    order = Order(config)
    failed = False
    with Path(config["lock"]).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name, leaf in order.leaves.items():
            now = time.time()
            if name not in given.names if given.names else not order.due(name, leaf, now):
                continue
            ok, said = order.order(name, leaf, now)
            print(f"{name}: {'served' if ok else said}", flush=True)
            failed = failed or not ok
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
