import asyncio
import tempfile
import unittest
from pathlib import Path

from privnet.control import Control, ControlError, Parser, keywords


def feed(text: str) -> list:
    parser = Parser()
    return [reply for line in text.split("\n") if (reply := parser.feed(line)) is not None]


class ParserTest(unittest.TestCase):
    def test_single_line(self):
        self.assertEqual(feed("250 OK"), [("250", ["OK"])])

    def test_several_lines_are_one_reply(self):
        self.assertEqual(feed("250-version=1\n250-x=y\n250 OK"), [("250", ["version=1", "x=y", "OK"])])

    def test_data_ends_at_the_dot_and_is_unstuffed(self):
        replies = feed("250+ns/all=\nr one\n..dotted\n250 not a reply\n.\n250 OK")
        self.assertEqual(replies, [("250", ["ns/all=\nr one\n.dotted\n250 not a reply", "OK"])])

    def test_empty_data(self):
        self.assertEqual(feed("250+utcp/links=\n.\n250 OK"), [("250", ["utcp/links=", "OK"])])

    def test_events_and_errors_keep_their_code(self):
        self.assertEqual(feed("650 CIRC 1 BUILT\n552 no"), [("650", ["CIRC 1 BUILT"]), ("552", ["no"])])

    def test_something_else(self):
        for line in ("HTTP/1.0 200 OK", "", "25", "250*x"):
            with self.assertRaises(ControlError):
                Parser().feed(line)

    def test_keywords(self):
        self.assertEqual(keywords(["a=b=c", "no", "D="]), {"a": "b=c", "D": ""})


class ControlTest(unittest.IsolatedAsyncioTestCase):
    """Against a server that plays Tor, on a port the kernel chooses."""

    async def asyncSetUp(self):
        self.script: dict[str, bytes] = {"AUTHENTICATE 00ff": b"250 OK\r\n"}
        self.serving: list[asyncio.Task] = []
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.directory = tempfile.TemporaryDirectory()
        self.cookie = Path(self.directory.name) / "cookie"
        self.cookie.write_bytes(b"\x00\xff")
        self.events: list[str] = []
        self.control = Control(self.events.append)

    async def asyncTearDown(self):
        self.control.close()
        self.server.close()
        await asyncio.gather(*self.serving)
        self.directory.cleanup()

    async def serve(self, reader, writer):
        self.serving.append(asyncio.current_task())
        while line := await reader.readline():
            answer = self.script.get(line.decode().strip())
            if answer is None:
                break
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async def test_value_and_event(self):
        self.script["GETINFO x"] = b"650 CIRC 3 BUILT\r\n250+x=\r\none\r\ntwo\r\n.\r\n250 OK\r\n"
        await self.control.connect("127.0.0.1", self.port, self.cookie)
        self.assertEqual(await self.control.info("x"), "one\ntwo")
        self.assertEqual(self.events, ["CIRC 3 BUILT"])

    async def test_refusal_is_an_error_with_its_text(self):
        self.script["GETINFO x"] = b'552 Unrecognized key "x"\r\n'
        await self.control.connect("127.0.0.1", self.port, self.cookie)
        with self.assertRaisesRegex(ControlError, "552 Unrecognized"):
            await self.control.info("x")
        self.assertTrue(self.control.is_open)

    async def test_end_of_the_node_fails_the_command_and_all_later_ones(self):
        await self.control.connect("127.0.0.1", self.port, self.cookie)
        for _ in range(2):
            with self.assertRaises(ControlError):
                await self.control.info("unknown to the script")
        self.assertFalse(self.control.is_open)

    async def test_wrong_cookie(self):
        self.script["AUTHENTICATE 00ff"] = b"515 Authentication failed\r\n"
        with self.assertRaisesRegex(ControlError, "515"):
            await self.control.connect("127.0.0.1", self.port, self.cookie)
