"""A security upgrade that comes out: of a package that does nothing, or what a test has it do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.stack import Stack

# A repository as Debian's security team has one, with a package whose script runs what is in /root/at-upgrade.
REPOSITORY = r"""
set -eu
apt-get update -qq
# What else waits since the image was made would be told before it, and by dozens.
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
apt-get upgrade -qq --option Dpkg::Options::=--force-confold >/dev/null
rm -rf /srv/security && mkdir -p /srv/security && cd /srv/security
codename=$(. /etc/os-release; echo $VERSION_CODENAME)
for version in 1.0 2.0; do
  mkdir -p tree/DEBIAN
  printf 'Package: harmless\nVersion: %s\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: none\n' \
    $version > tree/DEBIAN/control
  printf '#!/bin/sh\n[ ! -x /root/at-upgrade ] || /root/at-upgrade\n' > tree/DEBIAN/postinst
  chmod 0755 tree tree/DEBIAN tree/DEBIAN/postinst
  dpkg-deb --root-owner-group -Znone -b tree harmless_$version.deb >/dev/null
  rm -r tree
done
dpkg -i harmless_1.0.deb >/dev/null
{ dpkg-deb -f harmless_2.0.deb; echo "Filename: ./harmless_2.0.deb"; echo "Size: $(stat -c %s harmless_2.0.deb)"
  echo "SHA256: $(sha256sum harmless_2.0.deb | cut -d ' ' -f 1)"; } > Packages
{ printf 'Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: %s-security\n' $codename
  printf 'Date: %s\nSHA256:\n' "$(date -uR)"
  echo " $(sha256sum Packages | cut -d ' ' -f 1) $(stat -c %s Packages) Packages"; } > Release
echo "deb [trusted=yes] file:/srv/security ./" > /etc/apt/sources.list.d/security-test.list
apt-get update -qq
"""
WITHDRAWN = r"""
rm -rf /srv/security /etc/apt/sources.list.d/security-test.list /root/at-upgrade
dpkg --purge harmless >/dev/null 2>&1; apt-get update -qq
"""


@contextmanager
def security_upgrade(*stacks: Stack) -> Iterator[None]:
    """Have hosts wait for it while the block runs, and for nothing else."""
    try:
        for stack in stacks:
            stack.run(REPOSITORY)
        yield
    finally:
        for stack in stacks:
            stack.host.run(WITHDRAWN)


def at_upgrade(stack: Stack, command: str) -> None:
    """Have the package's script run a command of root's when it is upgraded."""
    stack.run(
        f"printf '#!/bin/sh\\n%s\\n' '{command}' > /root/at-upgrade; chmod 0755 /root/at-upgrade"
    )


def installed(stack: Stack) -> str:
    """Return the version of it that a host has."""
    return stack.run("dpkg-query --show --showformat '${Version}' harmless")
