import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from privnet.errors import Failure
from privnet.process import Children, run


def exists(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    except FileNotFoundError:
        return False


class ProcessTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.log = Path(self.directory.name) / "log"

    async def asyncTearDown(self):
        self.directory.cleanup()

    async def test_failure_shows_the_end_of_the_output(self):
        with self.assertRaisesRegex(Failure, r"(?s)a test failed \(status 3\).*why it failed"):
            await run(["sh", "-c", "echo why it failed; exit 3"], self.log, "a test", 30)

    async def test_a_program_that_does_not_exist(self):
        with self.assertRaisesRegex(Failure, "cannot start"):
            await run(["/nonexistent/program"], self.log, "a test", 30)

    async def test_patience_ends_the_whole_group(self):
        with self.assertRaisesRegex(Failure, "did not finish"):
            await run(["sh", "-c", "sleep 1000 & echo $!; wait"], self.log, "a test", 0.5)
        await self.gone(int(self.log.read_text()))

    async def test_a_child_that_ignores_sigterm_is_ended_too(self):
        children = Children()
        child = children.start("stubborn", ["sh", "-c", "trap '' TERM; sleep 1000 & echo $!; wait"], self.log)
        while not self.log.read_text().endswith("\n"):
            await asyncio.sleep(0.01)
        children.end_all(patience=0.2)
        self.assertEqual(child.returncode, -signal.SIGKILL)
        await self.gone(int(self.log.read_text()))

    async def test_ended_children_are_reported(self):
        children = Children()
        children.start("short", ["sh", "-c", "exit 7"], self.log).wait()
        self.assertEqual(children.ended(), [("short", 7)])

    async def test_children_end_when_the_parent_is_killed(self):
        program = (
            "import sys, time; from pathlib import Path; from privnet.process import Children;"
            "child = Children().start('c', ['sleep', '1000'], Path(sys.argv[1]));"
            "print(child.pid, flush=True); time.sleep(1000)"
        )
        top = str(Path(__file__).resolve().parents[1])
        parent = subprocess.Popen(
            [sys.executable, "-c", program, str(self.log)],
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": top},
        )  # fmt: skip
        child = int(parent.stdout.readline())
        parent.stdout.close()
        self.assertTrue(exists(child))
        parent.kill()
        parent.wait()
        await self.gone(child)

    async def gone(self, pid: int):
        """The kernel's signal takes a moment; a process that stays makes the test hang, and fail."""
        async with asyncio.timeout(60):
            while exists(pid):
                await asyncio.sleep(0.01)
