"""Child processes that end with this one, whatever ends it."""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .errors import Failure

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int, death_signal: int) -> Callable[[], None]:
    """What a child does between fork and exec: ask the kernel to be killed when the parent dies."""

    def prepare() -> None:
        if _libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0 or os.getppid() != parent:
            os._exit(127)

    return prepare


def spawn(argv: list[str], log: Path, death_signal: int = signal.SIGKILL, **options) -> subprocess.Popen:
    """Starts a program in a session of its own, its output appended to `log`.

    Must be called from the main thread: the kernel's promise is bound to the thread that forked.
    """
    with open(log, "ab") as output:
        try:
            return subprocess.Popen(
                [str(word) for word in argv],
                stdin=options.pop("stdin", subprocess.DEVNULL),
                stdout=options.pop("stdout", output),
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid(), death_signal),
                **options,
            )
        except OSError as error:
            raise Failure(f"cannot start {argv[0]}: {error}") from error


class Children:
    """All processes of a run."""

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen] = {}

    def start(self, name: str, argv: list[str], log: Path) -> subprocess.Popen:
        """Starts a process that is meant to stay."""
        self._children[name] = spawn(argv, log)
        return self._children[name]

    def get(self, name: str) -> subprocess.Popen:
        return self._children[name]

    def pids(self) -> dict[str, int]:
        """The process identifiers of those that have not been ended."""
        return {name: child.pid for name, child in self._children.items()}

    def ended(self) -> list[tuple[str, int]]:
        """Those that have ended though nobody asked them to: name and exit status."""
        return [(name, child.returncode) for name, child in self._children.items() if child.poll() is not None]

    async def end(self, name: str, with_signal: int, patience: float) -> int:
        """Sends a signal to one process and waits until it has ended; returns its exit status."""
        child = self._children.pop(name)
        child.send_signal(with_signal)
        deadline = time.monotonic() + patience
        while child.poll() is None:
            if time.monotonic() > deadline:
                child.kill()
                child.wait()
                raise Failure(f"{name} was still there {patience:.0f} s after signal {with_signal}")
            await asyncio.sleep(0.05)
        return child.returncode

    def end_all(self, patience: float = 5.0) -> None:
        """Ends every process and waits for it: politely, then by force. Blocks, on purpose."""
        children = list(self._children.values())
        self._children.clear()
        for child in children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        for child in children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


async def run(
    argv: list[str],
    log: Path,
    what: str,
    patience: float,
    tick: Callable[[], None] = lambda: None,
    stdin: bytes | None = None,
    **options,
) -> None:
    """Runs a program to its end; raises Failure when it fails or takes longer than `patience` seconds.

    `tick` is called about four times a second. Children of the program get SIGTERM through its
    process group when this function is left early.
    """
    pipe = {"stdin": subprocess.PIPE} if stdin is not None else {}
    child = spawn(argv, log, death_signal=signal.SIGTERM, **pipe, **options)
    try:
        if stdin is not None:
            try:
                child.stdin.write(stdin)
                child.stdin.close()
            except BrokenPipeError:
                pass
        deadline = time.monotonic() + patience
        while child.poll() is None:
            if time.monotonic() > deadline:
                raise Failure(f"{what} did not finish within {patience:.0f} s; its output is in {log}")
            tick()
            await asyncio.sleep(0.05 if patience < 120 else 0.25)
    finally:
        if child.poll() is None:
            _end_group(child)
    if child.returncode != 0:
        raise Failure(f"{what} failed (status {child.returncode}):\n{tail(log)}\nThe whole output is in {log}")


def _end_group(child: subprocess.Popen) -> None:
    """Ends a program that is still running and what it has started (a session of its own)."""
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a file, indented."""
    try:
        with open(log, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return f"    ({error})"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
