"""Downloads through pinned circuits, compared with what should have arrived."""

import asyncio
import hashlib
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass

from .circuits import CircuitError, PinningClient
from .network import SOCKS_PORT, WEB_PORT
from .web import digest, path_of


@dataclass(frozen=True)
class Object:
    """Something to download."""

    name: str
    size: int  # bytes


@dataclass
class Totals:
    """What all downloads of a run together have done."""

    bytes: int = 0
    objects: int = 0
    wrong: int = 0


class DownloadError(Exception):
    """A download failed or brought something else than the server sent."""


async def download(
    client: PinningClient,
    circuit: str,
    web_host: str,
    wanted: Object,
    seed: int,
    on_bytes: Callable[[int], None] = lambda count: None,
    stall: float = 30.0,
) -> float:
    """Downloads an object over a circuit and compares its SHA-256; returns the seconds it took.

    Raises DownloadError, also when nothing arrives for `stall` seconds.
    """
    what = f"{wanted.size} bytes ({wanted.name}) through {client.node.name}"
    begin = time.monotonic()
    done = 0
    writer = None
    source = ""

    def state() -> str:
        if refused := client.detached(source):
            return f"the exit refused: {refused}"
        reason = client.gone(circuit)
        return f"its circuit is gone ({reason})" if reason else "its circuit is open"

    try:
        async with asyncio.timeout(stall) as patience:
            reader, writer = await asyncio.open_connection(client.node.address, SOCKS_PORT)
            host, port = writer.get_extra_info("sockname")[:2]
            source = f"{host}:{port}"
            attached = client.expect(source, circuit)
            await _socks_connect(reader, writer, web_host, WEB_PORT, attached)
            writer.write(f"GET {path_of(wanted.name, wanted.size)} HTTP/1.0\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.0 200 "):
                raise DownloadError(f"{what}: the server answered {head.splitlines()[0]!r}")
            sha256 = hashlib.sha256()
            while block := await reader.read(1 << 17):
                sha256.update(block)
                done += len(block)
                on_bytes(len(block))
                patience.reschedule(asyncio.get_running_loop().time() + stall)
    except TimeoutError:
        raise DownloadError(f"{what}: nothing arrived for {stall:.0f} s after {done} bytes; {state()}") from None
    except (OSError, EOFError, asyncio.LimitOverrunError, CircuitError) as error:
        raise DownloadError(f"{what}: {error or type(error).__name__} after {done} bytes; {state()}") from error
    finally:
        if writer is not None:
            writer.close()
    if done != wanted.size:
        raise DownloadError(f"{what}: only {done} bytes arrived" if done < wanted.size else f"{what}: {done} bytes arrived")
    if sha256.hexdigest() != digest(seed, wanted.name, wanted.size):
        raise DownloadError(f"{what}: SHA-256 is {sha256.hexdigest()}, not {digest(seed, wanted.name, wanted.size)}")
    return time.monotonic() - begin


SOCKS_REPLIES = {
    1: "general failure",
    2: "not allowed",
    3: "network unreachable",
    4: "host unreachable",
    5: "refused",
    6: "timed out",
    7: "command not supported",
    8: "address type not supported",
}


async def _socks_connect(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    attached: asyncio.Future,
) -> None:
    """SOCKS 5 CONNECT (RFC 1928) to an IPv4 address."""
    writer.write(b"\x05\x01\x00")
    if await reader.readexactly(2) != b"\x05\x00":
        raise ConnectionError("the SOCKS port wants a method that is not known here")
    writer.write(b"\x05\x01\x00\x01" + ipaddress.IPv4Address(host).packed + port.to_bytes(2, "big"))
    await attached
    _, reply, _, kind = await reader.readexactly(4)
    # The bound address: a length that depends on its type, then the port.
    length = {1: 4, 4: 16}.get(kind)
    if length is None:
        length = (await reader.readexactly(1))[0]
    await reader.readexactly(length + 2)
    if reply != 0:
        raise ConnectionError(f"SOCKS: {SOCKS_REPLIES.get(reply, reply)}")
