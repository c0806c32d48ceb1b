import asyncio
import hashlib
import unittest

from privnet.web import WebServer, content, digest, path_of


class WebTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.web = WebServer(seed=5)
        await self.web.start("127.0.0.1", 0)
        self.port = self.web._server.sockets[0].getsockname()[1]

    async def asyncTearDown(self):
        self.web.stop()

    async def get(self, path: str) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head, body

    async def test_object(self):
        head, body = await self.get(path_of("a", 200_001))
        self.assertIn(b" 200 ", head)
        self.assertEqual(len(body), 200_001)
        self.assertEqual(hashlib.sha256(body).hexdigest(), digest(5, "a", 200_001))

    async def test_bad_requests(self):
        for path in ("/", "/a", "/a/-1", "/a/x", "/a/99999999999", "/a/1/2"):
            head, body = await self.get(path)
            self.assertIn(b" 400 ", head, path)
            self.assertEqual(body, b"")

    def test_objects_differ_by_seed_and_name(self):
        self.assertEqual(len({content(1, "a", 50), content(2, "a", 50), content(1, "b", 50)}), 3)
