"""The keys of the directory authorities, without which no other node can be configured."""

import asyncio
import re
from pathlib import Path

from .errors import Failure
from .network import DIR_PORT, Network, Node
from .process import run, tail


async def make_authority_keys(network: Network, tor: Path, gencert: Path) -> None:
    """Makes voting and identity keys for each authority and notes their fingerprints in the nodes."""
    tasks = [_make(node, tor, gencert) for node in network.authorities]
    await asyncio.gather(*tasks)


async def _make(node: Node, tor: Path, gencert: Path) -> None:
    keys = node.directory / "keys"
    keys.mkdir(mode=0o700)
    log = node.directory / "keys.log"
    certificate = keys / "authority_certificate"
    await run(
        [gencert, "--create-identity-key", "-m", "24", "-a", f"{node.address}:{DIR_PORT}",
         "-i", keys / "authority_identity_key", "-s", keys / "authority_signing_key",
         "-c", certificate, "--passphrase-fd", "0"],
        log, f"tor-gencert for {node.name}", patience=60, stdin=b"demo\n",
    )  # fmt: skip
    node.v3ident = _find(r"^fingerprint ([0-9A-F]{40})$", certificate)
    await run(
        [tor, "--ignore-missing-torrc", "-f", node.directory / "no-torrc", "--hush",
         "--DataDirectory", node.directory, "--Nickname", node.name, "--ORPort", "1",
         "--DirAuthority", f"{node.name} {node.address}:{DIR_PORT} {'0' * 40}",
         "--list-fingerprint"],
        log, f"tor --list-fingerprint for {node.name}", patience=60,
    )  # fmt: skip
    node.fingerprint = read_fingerprint(node)


def read_fingerprint(node: Node) -> str:
    """The RSA fingerprint that a running node has written."""
    return _find(r"^\S+ ([0-9A-F]{40})$", node.directory / "fingerprint")


def _find(pattern: str, file: Path) -> str:
    try:
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Failure(f"Tor's tools have not written a key file: {error}\n{tail(file.parent / 'keys.log')}") from error
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise Failure(f"no fingerprint in {file}")
    return match[1]
