"""Read a certificate that somebody supplies, with its key, and say what is wrong with them before a host gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

DOCUMENTATION = r"""
name: supplied_pair
short_description: A certificate with its key, from the control node
description:
  - Takes leaves of the kind C(files), each a dict with C(name), C(domains), C(chain) and C(key). Files that
    ansible-vault has encrypted are decrypted.
  - "Returns for each a dict: C(name); C(errors) and C(warnings), lists of sentences with key and fix; C(pem), key and
    chain as one text, a secret; C(folder), what the pair is called on the host; C(stapling), whether the certificate
    names a responder of OCSP and its issuer, without which that can't be asked, is in the chain."
options:
  _terms: {description: The leaves., required: true}
  root: {description: The folder that relative paths start from., type: str, default: .}
"""

WARN_DAYS = 30
RSA_BITS = 2048  # what OpenSSL's level of security on Debian asks for

Chain = list[x509.Certificate]


def covers(pattern: str, name: str) -> bool:
    """Tell whether a name in a certificate stands for another; ``*.example.org`` is for one more label."""
    return pattern == name or (pattern[:2] == "*." and pattern[1:] == f".{name.partition('.')[2]}")


def names(certificate: x509.Certificate) -> list[str]:
    """Return the host names that a certificate is for. Browsers don't look at its common name."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in found.value.get_values_for_type(x509.DNSName)]


def called(certificate: x509.Certificate) -> str:
    """Return what a certificate calls its owner."""
    return certificate.subject.rfc4514_string() or ", ".join(names(certificate)) or "one of no name"


def staples(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate names a responder of OCSP."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return False
    ocsp = AuthorityInformationAccessOID.OCSP
    return any(one.access_method == ocsp for one in access.value)


def chain_errors(where: str, chain: Chain, domains: list[str], now: datetime) -> Iterator[str]:
    """Yield what is wrong with a chain: dates, names, order."""
    first = chain[0]
    for one in chain:
        if one.not_valid_after_utc < now:
            ended = f"{one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            yield f"{where}: {called(one)} ended on {ended}; get a new one"
        elif one.not_valid_before_utc > now:
            begins = f"{one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            yield f"{where}: {called(one)} isn't valid before {begins}; wait for that, or mend the control node's clock"
    if missing := [d for d in domains if not any(covers(name, d) for name in names(first))]:
        yield (
            f"{where}: is for {', '.join(names(first)) or 'no host name'}, and so not for {', '.join(missing)}; "
            "get one for all of domains and redirect_from, or take those names off"
        )
    for one, following in pairwise(chain):
        try:
            one.verify_directly_issued_by(following)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            yield (
                f"{where}: {called(one)} is not signed by the one after it, {called(following)}; "
                "put the certificate first, then each that has signed the one before"
            )


def key_errors(where: str, text: str, first: x509.Certificate | None) -> Iterator[str]:
    """Yield what is wrong with a private key, and tell nothing of it; ``first`` is the certificate that it is for."""
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except TypeError:
        yield f"{where}: has a passphrase, which Nginx can't be asked for; take it off, and use ansible-vault"
        return
    except (ValueError, UnsupportedAlgorithm):
        yield f"{where}: is no private key in PEM; name the file that begins with BEGIN PRIVATE KEY or the like"
        return
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS:
        yield f"{where}: is RSA of {key.key_size} bits, which OpenSSL refuses; use {RSA_BITS} or more, or ECDSA"
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if first and key.public_key().public_bytes(*spki) != first.public_key().public_bytes(*spki):
        yield f"{where}: is not the key of {called(first)}; name the one that the certificate was requested with"


class LookupModule(LookupBase):  # type: ignore[misc]
    """Ansible's entry point."""

    def run(
        self, terms: list[dict[str, Any]], variables: Any = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Return what DOCUMENTATION says."""
        root = Path(kwargs.get("root", "."))
        return [self.pair(leaf, root, datetime.now(UTC)) for leaf in terms]

    def text(self, path: Path) -> str:
        """Return what is in a file, decrypted."""
        content: bytes = self._loader._get_file_contents(str(path))[0]
        return content.decode()

    def pair(self, leaf: dict[str, Any], root: Path, now: datetime) -> dict[str, Any]:
        """Return what there is to say of one leaf."""
        errors, warnings, found = [], [], {"chain": "", "key": ""}
        for part in found:
            where = f"apps.{leaf['name']}.tls.{part}"
            if not leaf.get(part):
                errors.append(f"{where}: is missing; name the file on the control node")
                continue
            path = root / Path(leaf[part]).expanduser()
            try:
                found[part] = self.text(path)
            except UnicodeDecodeError:
                errors.append(f"{where}: {path} is no PEM; 'openssl' turns other formats into it")
            except (AnsibleError, OSError) as error:
                said = " ".join(str(error).split())
                errors.append(
                    f"{where}: {path} can't be read: {said}; name a file of the control node, "
                    "and give the vault's password"
                )
        chain: Chain = []
        where = f"apps.{leaf['name']}.tls.chain"
        if found["chain"]:
            try:
                chain = x509.load_pem_x509_certificates(found["chain"].encode())
            except ValueError:
                errors.append(
                    f"{where}: holds no certificate in PEM that can be read; name another file"
                )
        if chain:
            errors += chain_errors(where, chain, list(leaf["domains"]), now)
            left = (min(one.not_valid_after_utc for one in chain) - now).days
            if 0 <= left < WARN_DAYS:
                warnings.append(f"{where}: ends in {left} days; nobody renews it but you")
        if found["key"]:
            key = f"apps.{leaf['name']}.tls.key"
            errors += key_errors(key, found["key"], chain[0] if chain else None)
        pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain).decode()
        return {
            "name": leaf["name"],
            "errors": errors,
            "warnings": warnings,
            "pem": f"{found['key'].strip()}\n{pem}",
            "folder": f"files-{hashlib.sha256(pem.encode()).hexdigest()[:12]}",
            "stapling": len(chain) > 1 and staples(chain[0]),
        }
