#!/usr/bin/python
"""Look at a host from the control node, as its clients do: where names lead, which ports answer, what is served."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reach_info
short_description: Look where names lead, which ports of a host answer, and what certificates it serves
description:
  - Runs on the control node, and needs nothing on the host.
options:
  address: {type: str, required: true, description: The host's address, or a name that leads there.}
  otherwise: {type: str, default: "", description: The address to take if that leads nowhere.}
  names: {type: list, elements: str, default: [], description: Names to resolve, and to ask for certificates of.}
  ports: {type: list, elements: int, default: [], description: TCP ports to connect to.}
  https_port: {type: int, default: 443, description: The port that serves certificates.}
  authority: {type: path, default: "", description: A PEM file of an authority to trust besides the machine's own.}
  timeout: {type: float, default: 4, description: Seconds that a connection may take.}
"""

RETURN = r"""
address: {description: The address by which the host was looked at., type: str, returned: always}
addresses: {description: 'By name, the host''s too, where it leads; empty for nowhere.', type: dict, returned: always}
ports: {description: 'By port, how a connection goes: open, refused or silent.', type: dict, returned: always}
certificates:
  description: >-
    By name, what is served: names, issuer, days left, and the problem that a client has with it; if nothing is served,
    just that problem.
  type: dict
  returned: always
"""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from cryptography import x509
from cryptography.x509.oid import NameOID


def addresses(name: str) -> list[str]:
    """Return the addresses that a name leads to on this machine."""
    try:
        found = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return []
    return sorted({str(one[4][0]) for one in found})


def connection(address: str, timeout: float, port: int) -> str:
    """Return how a connection to a port goes: ``open``, ``refused``, or ``silent`` where nothing comes back."""
    try:
        with socket.create_connection((address, port), timeout):
            return "open"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "silent"


def certificate(
    address: str, port: int, authority: str, timeout: float, name: str
) -> dict[str, Any]:
    """Return what is served for a name, and the problem that a client would have with it."""

    def served(context: ssl.SSLContext) -> bytes:
        with (
            socket.create_connection((address, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""

    curious = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    curious.check_hostname, curious.verify_mode = False, ssl.CERT_NONE
    strict = ssl.create_default_context()
    if authority and Path(authority).is_file():
        strict.load_verify_locations(authority)
    try:
        shown = x509.load_der_x509_certificate(served(curious))
    except (OSError, ValueError) as error:
        return {"problem": str(getattr(error, "reason", None) or error)}
    try:
        served(strict)
        problem = ""
    except ssl.SSLCertVerificationError as error:
        problem = error.verify_message
    except OSError as error:
        problem = str(error)
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        own = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        own = []
    issuer = shown.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {
        "problem": problem,
        "days": (shown.not_valid_after_utc - datetime.now(UTC)).days,
        "names": own,
        "issuer": str(issuer[0].value) if issuer else "",
    }


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "otherwise": {"type": "str", "default": ""},
            "names": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "https_port": {"type": "int", "default": 443},
            "authority": {"type": "path", "default": ""},
            "timeout": {"type": "float", "default": 4},
        },
        supports_check_mode=True,
    )
    given = module.params
    address = given["address"] if addresses(given["address"]) else given["otherwise"]
    timeout, names = given["timeout"], list(given["names"])
    # Side by side: each may take all of its time.
    with ThreadPoolExecutor(max_workers=16) as pool:
        resolved = pool.map(addresses, [address, *names])
        connected = pool.map(partial(connection, address, timeout), given["ports"])
        look = partial(certificate, address, given["https_port"], given["authority"], timeout)
        served = pool.map(look, names)
        module.exit_json(
            changed=False,
            address=address,
            addresses=dict(zip([address, *names], resolved, strict=True)),
            ports=dict(zip(map(str, given["ports"]), connected, strict=True)),
            certificates=dict(zip(names, served, strict=True)),
        )


if __name__ == "__main__":
    main()
