"""What others' tools say of the edge: testssl.sh and sslyze of its TLS, gixy of Nginx's configuration."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.stack import ROOT, Stack

# gixy's findings that are none here, each with its reason.
NONE_HERE = (
    # It can't know OpenSSL's version: the group is named on Debian 13 alone, and test_tls.py has it negotiated.
    "ssl_ecdh_curve",
    # The certificate is of the host's own authority, for which HSTS would be a trap.
    "hsts_header",
    # The variable chooses between two upstreams of the same file: nothing is looked up.
    "missing_resolver",
)
# And testssl.sh's: that authority has no list of revoked certificates.
NO_REVOCATION = "cert_revocation"


def tool(package: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of the package index in an environment of its own."""
    uvx = ["uv", "tool", "run", "--quiet", "--from", package, *command]
    return subprocess.run(uvx, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def findings(stacks: list[Stack], clients: Stack) -> dict[str, list[dict[str, Any]]]:
    """Return what testssl.sh finds of each host; both at a time, since it takes most of a minute."""
    ask = "testssl --quiet --color 0 --warnings off --ip {0.address} --add-ca {0.name}.pem --jsonfile {0.name}.json"
    commands = [
        f"rm -f {each.name}.json; {ask.format(each)} https://edge.test >{each.name}.txt 2>&1"
        for each in stacks
    ]
    clients.host.run(" & ".join(commands) + " & wait")
    return {stack.name: json.loads(clients.run(f"cat {stack.name}.json")) for stack in stacks}


def test_testssl_finds_nothing_above_low_and_grades_it_a(
    stack: Stack, findings: dict[str, list[dict[str, Any]]]
) -> None:
    found = {finding["id"]: finding for finding in findings[stack.name]}
    assert len(found) > 100
    grave = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
    bad = [name for name, each in found.items() if each["severity"] in grave]
    assert set(bad) <= {NO_REVOCATION}, [found[name] for name in bad]
    assert found["overall_grade"]["finding"] in ("A", "A+")


def test_sslyze_finds_mozillas_intermediate_profile(stack: Stack) -> None:
    done = tool(
        "sslyze",
        *("sslyze", "--mozilla_config=intermediate", "--sni=edge.test"),
        f"--certinfo_ca_file={stack.ca}",
        f"{stack.address}:443",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "OK - Compliant" in done.stdout


def test_gixy_finds_nothing_in_the_configuration(stack: Stack, tmp_path: Path) -> None:
    whole = tmp_path / "nginx.conf"
    whole.write_text(stack.run("nginx -T 2>/dev/null"))
    done = tool("gixy-ng", "gixy", "--format=json", f"--skips={','.join(NONE_HERE)}", str(whole))
    # Debian's nginx.conf is Debian's.
    assert [each for each in json.loads(done.stdout) if "slipway" in each["file"]] == []
