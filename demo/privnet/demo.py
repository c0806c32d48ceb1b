"""The run: build, start, exercise, judge, clean up."""

import argparse
import asyncio
import fcntl
import json
import os
import secrets
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

from . import kernel, links, network
from .build import Builder, Programs
from .control import ControlError
from .errors import Failure
from .exercise import Exercise
from .keys import make_authority_keys
from .process import Children
from .progress import Progress
from .running import RunningNetwork
from .web import WebServer

PROJECT = Path(__file__).resolve().parents[2]
WORK = PROJECT / "build" / "demo"
KEPT_RUNS = 3
SHOWN_PROBLEMS = 15


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo/run",
        description="Downloads through a private Tor network whose patched relays speak utcp with each other.",
    )
    parser.add_argument("--relays", type=int, default=5, metavar="N", help="patched relays (default 5)")
    parser.add_argument("--bytes", type=int, default=20_000_000, metavar="N",
                        help="size of the large file (default 20000000)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=None, metavar="N",
                        help="for paths, sizes and contents (default: a new one, which is printed)")  # fmt: skip
    parser.add_argument("--no-restart", dest="restart", action="store_false",
                        help="leave out killing, ending and restarting a relay")  # fmt: skip
    parser.add_argument("--log", default="notice", choices=("notice", "info", "debug"),
                        help="how much the nodes write to NODE/tor.log (default notice)")  # fmt: skip
    parser.add_argument("--vanilla", action="store_true", help="no node is patched: tests the demo itself")
    parser.add_argument("--keep", action="store_true", help="leave the network up until Ctrl-C")
    parser.add_argument("--build-only", action="store_true", help="build what a run needs, print where it is as JSON, and stop")
    parser.add_argument("--tor", type=Path, metavar="PROGRAM", help="a patched Tor, instead of building one")
    parser.add_argument("--plain-tor", type=Path, metavar="PROGRAM",
                        help="an unpatched Tor with its tools, instead of building one")  # fmt: skip
    options = parser.parse_args(argv)
    if options.bytes < 1 or options.bytes > 1 << 30:
        parser.error("--bytes: between 1 and 2^30")
    if options.plain_tor is None and options.tor is not None:
        parser.error("--tor needs --plain-tor")
    return options


async def programs(options: argparse.Namespace, progress: Progress) -> Programs:
    """The programs the options name, or else freshly built ones."""
    if options.plain_tor is None or (options.tor is None and not options.vanilla):
        return await Builder(PROJECT, WORK, progress).programs(options.vanilla)
    plain = options.plain_tor.resolve()
    candidates = [plain.parent / "tor-gencert", plain.parents[1] / "tools" / "tor-gencert"]
    gencert = next((file for file in candidates if file.is_file()), None)
    if gencert is None:
        raise Failure(f"no tor-gencert beside {plain} nor in ../tools")
    return Programs(plain, (options.tor or plain).resolve(), gencert)


def new_run_directory() -> tuple[Path, object]:
    """A directory for the nodes and logs of this run, and the lock that says it is in use. Those of
    older runs that have ended are removed, except the latest."""
    runs = WORK / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    ended = []
    for old in sorted(runs.iterdir()):
        try:
            with open(old / "lock", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ended.append(old)
        except OSError:
            pass  # in use, or not a run's directory
    for old in ended[: -(KEPT_RUNS - 1)]:
        shutil.rmtree(old, ignore_errors=True)
    directory = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    directory.mkdir(mode=0o700)
    lock = open(directory / "lock", "w", encoding="ascii")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return directory, lock


class Run:
    """One run and everything that must be undone after it."""

    def __init__(self, options: argparse.Namespace, progress: Progress):
        self._options = options
        self._progress = progress
        self._children = Children()
        self._seed = options.seed if options.seed is not None else secrets.randbelow(1 << 31)
        self._web = WebServer(self._seed)
        self._exercise: Exercise | None = None
        self._claim = None
        self._lock = None
        self.directory: Path | None = None

    async def go(self) -> list[str]:
        """Returns what was wrong, nothing when all is right. Raises Failure when it cannot go on."""
        tools = await programs(self._options, self._progress)
        if self._options.build_only:
            places = {"plain": tools.plain, "patched": tools.patched, "gencert": tools.gencert}
            self._progress.text(json.dumps({name: str(place) for name, place in places.items()}))
            return []
        self.directory, self._lock = new_run_directory()
        prefix, self._claim = network.claim_addresses()
        net = network.describe(self.directory, prefix, self._options.relays, not self._options.vanilla)
        self._progress.step(
            f"network {prefix}0/24, seed {self._seed}: {len(net.authorities)} authorities, "
            f"{len(net.utcp_relays)} patched and {len(net.tls_relays)} unpatched relays, {len(net.clients)} clients"
        )
        for node in net.nodes:
            node.directory.mkdir(mode=0o700)
        await make_authority_keys(net, tools.plain, tools.gencert)
        await self._web.start(net.web_address, network.WEB_PORT)
        running = RunningNetwork(net, {True: tools.patched, False: tools.plain}, self._children, self._progress, self._options.log)
        await running.start()
        await running.wait_until_ready()
        self._exercise = exercise = Exercise(running, self._progress, self._seed)
        await exercise.connect()
        if self._options.keep:
            self._tell_addresses(net)
        await exercise.build_circuits()
        await exercise.small_objects()
        await exercise.large_files(self._options.bytes)
        problems = await self._judge(running, exercise)
        if self._options.restart:
            victim = net.of_role(network.RELAY)[1]
            await self._restarts(running, exercise, victim)
            problems += await self._judge(running, exercise, victim)
        problems = exercise.problems + problems
        totals = exercise.totals
        self._progress.text(
            f"{totals.objects} downloads, {totals.bytes:,} bytes: SHA-256 right in "
            f"{totals.objects}, failed or wrong in {totals.wrong}"
        )
        if self._options.keep:
            report(problems, self._progress)
            self._progress.step("the network stays up until Ctrl-C")
            while True:
                running.check_alive()
                await asyncio.sleep(0.5)
        return problems

    async def _restarts(self, running: RunningNetwork, exercise: Exercise, victim: network.Node) -> None:
        """One patched relay is killed and started again, then ended politely and started again.
        Afterwards circuits must be built and carry downloads between it and every other relay, in
        both directions."""
        for with_signal in (signal.SIGKILL, signal.SIGINT):
            how = "killed" if with_signal == signal.SIGKILL else "asked to end"
            self._progress.step(f"{victim.name} is {how} and started again")
            exercise.forget(victim.name)
            await running.restart(victim, with_signal)
            self._progress.step(f"{victim.name} is back")
            await exercise.build_circuits(through=victim.name)
            await exercise.large_files(max(1, self._options.bytes // 10), through=victim.name)

    async def _judge(
        self, running: RunningNetwork, exercise: Exercise, only: network.Node | None = None
    ) -> list[str]:
        """Prints the table of links, or of those of one node; returns what is wrong with any."""
        net = running.network
        reports = {}
        for node in net.nodes:
            if node.patched and node.role == network.RELAY:
                reports[node.name] = links.parse(await running.controls[node.name].info("utcp/links"))
            elif self._options.vanilla and node.role == network.RELAY:
                status = await running.controls[node.name].info("orconn-status")
                reports[node.name] = links.from_orconn_status(status)
        sockets = kernel.look(self._children.pids())
        rows = links.merge(net, reports, sockets.owners)
        self._progress.text()
        if only:
            self._progress.text(f"Links of {only.name} since it was started again:")
        self._progress.text(links.table([row for row in rows if only is None or only.name in (row.start, row.end)]))
        self._progress.text()
        return exercise.lost_circuits() + links.problems(net, rows, sockets, exercise.used_pairs())

    def _tell_addresses(self, net: network.Network) -> None:
        for node in net.nodes:
            socks = f", SOCKS {node.address}:{network.SOCKS_PORT}" if node.role == network.CLIENT else ""
            self._progress.text(
                f"  {node.name}: control port {node.address}:{network.CONTROL_PORT} "
                f"(cookie {node.directory}/control_auth_cookie){socks}"
            )
        self._progress.text(f"  web server: {net.web_address}:{network.WEB_PORT}/NAME/SIZE")

    def clean_up(self) -> None:
        """Leaves nothing running. Safe at any point of a run."""
        if self._exercise:
            self._exercise.close()
        self._children.end_all()
        self._web.stop()
        for held in (self._claim, self._lock):
            if held:
                held.close()


def report(problems: list[str], progress: Progress) -> None:
    """Prints what was wrong, as far as somebody would read it."""
    for problem in problems[:SHOWN_PROBLEMS]:
        progress.text(f"WRONG: {problem}")
    if len(problems) > SHOWN_PROBLEMS:
        progress.text(f"WRONG: and {len(problems) - SHOWN_PROBLEMS} more")


async def supervise(run: Run, progress: Progress) -> int:
    """Runs, ends it on a signal, cleans up in any case; returns the exit status."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(run.go())
    caught: list[int] = []

    def on_signal(number: int) -> None:
        caught.append(number)
        task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    status = 1
    try:
        problems = await task
        report(problems, progress)
        status = 1 if problems else 0
    except asyncio.CancelledError:
        name = signal.Signals(caught[0]).name if caught else "cancelled"
        progress.step(f"stopped ({name})")
        status = 128 + (caught[0] if caught else signal.SIGTERM)
    except (Failure, ControlError) as error:
        progress.text(f"FAILED: {error}")
    except Exception:  # a mistake of this program: still clean up and say so
        progress.text("FAILED: the demo itself has a bug\n" + traceback.format_exc())
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        run.clean_up()
    if status == 0:
        progress.step("everything is built" if run.directory is None else "all is right")
    elif run.directory:
        progress.text(f"Logs: {run.directory}/NODE/tor.log")
    return status


def main() -> int:
    options = arguments(sys.argv[1:])
    progress = Progress()
    return asyncio.run(supervise(Run(options, progress), progress))
