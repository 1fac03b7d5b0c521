"""A store that fails, stalls or lies, in a way that the object's name chooses."""

import asyncio
import threading

STAMP = b'Last-Modified: Tue, 24 Nov 2026 00:00:00 GMT\r\nETag: "0"\r\n'


def answer(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n" + STAMP + b"\r\n" + body


def failure(status: str, code: str, *headers: str) -> bytes:
    return answer(status, f"<Error><Code>{code}</Code></Error>".encode(), *headers)


class LyingStore:
    """Listens on a free port of the loopback; `requests` holds the heads it has seen."""

    def __init__(self, elsewhere: str = "", tls=None) -> None:
        self.elsewhere = elsewhere
        self.requests: list[bytes] = []
        self.connections = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        async def serve() -> None:
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._stop.wait()
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._loop.run_until_complete(serve())
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                name = head.split(b" ")[1].split(b"?")[0].rpartition(b"/")[2].decode()
                tries = sum(f"/{name} ".encode() in request for request in self.requests)
                if not await self._answer(name, tries, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, name: str, tries: int, writer: asyncio.StreamWriter) -> bool:
        """Write the answer; say whether the connection goes on."""
        canned = {
            "fine": answer("200 OK", b"picture"),
            "empty": answer("200 OK"),
            "wrong-etag": answer("200 OK", b"picture", 'ETag: "1"'),
            "gzip": answer("200 OK", b"\x1f\x8bpicture", "Content-Encoding: gzip"),
            "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"4\r\npict\r\n3\r\nure\r\n0\r\n\r\n",
            "404": failure("404 Not Found", "NoSuchKey"),
            "no-bucket": failure("404 Not Found", "NoSuchBucket"),
            "no-version": failure("404 Not Found", "NoSuchVersion"),
            "403": failure("403 Forbidden", "AccessDenied"),
            "400": failure("400 Bad Request", "AuthorizationHeaderMalformed"),
            "301": failure("301 Moved", "PermanentRedirect", f"Location: {self.elsewhere}/x"),
            "307": failure("307 Temporary", "TemporaryRedirect", f"Location: {self.elsewhere}/x"),
            "301-without-location": failure("301 Moved", "PermanentRedirect"),
            "204": answer("204 No Content"),
            "206": answer("206 Partial Content", b"pict", "Content-Range: bytes 0-3/7"),
            "500": failure("500 Internal", "InternalError"),
            "503": answer("503 Service Unavailable"),
            "slow-down": failure("503 Slow Down", "SlowDown"),
            "429": answer("429 Too Many Requests"),
            "too-long": answer("200 OK", b"x" * 100, length=15 * 1024 * 1024 + 1),
            "absurdly-long": answer("200 OK", b"x" * 100, length=1 << 70),
            "negative-length": answer("200 OK", b"picture", length=-7),
            "no-length": b"HTTP/1.1 200 OK\r\n\r\npicture",
            "cut-short": answer("200 OK", b"pict", length=7),
            "cut-short-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npi",
            "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\npicture",
            "garbage": bytes(range(256)) * 4,
            "not-http": b"SSH-2.0-OpenSSH_9.6\r\n",
            "bad-status": b"HTTP/1.1 abc OK\r\n\r\n",
            "long-line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
            "many-headers": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
            "hang-up": b"",
        }
        if name in canned:
            writer.write(canned[name])
            await writer.drain()
            return name in ("fine", "empty", "gzip", "chunked", "wrong-etag", "404")

        match name:
            case "fine-then-closed":
                writer.write(answer("200 OK", b"picture"))
            case "reset":
                writer.write(answer("200 OK", b"pict", length=7))
                await writer.drain()
                writer.transport.abort()
            case "better-later":
                writer.write(answer("200 OK", b"picture") if tries == 3 else b"")
            case "slow-then-fine":
                busy = failure("503 Slow Down", "SlowDown")
                writer.write(answer("200 OK", b"picture") if tries == 2 else busy)
            case "more-than-asked":
                writer.write(answer("200 OK", b"picture") * 2)
                await writer.drain()
                return True
            case "never":
                await asyncio.sleep(60)
            case "slow-head":
                await self._drip(writer, b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n")
            case "slow-body":
                await self._drip(writer, answer("200 OK", length=1000), b"x")
            case "endless-continue":
                await self._flood(writer, b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
            case "endless-head":
                await self._flood(writer, b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536)
            case "endless-chunks":
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                await self._flood(writer, head, b"10000\r\n" + b"x" * 65536 + b"\r\n")
            case "endless-body":
                await self._flood(writer, b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)
            case "endless-error":
                await self._flood(writer, b"HTTP/1.1 500 Internal\r\n\r\n", b"x" * 65536)
        await writer.drain()
        return False

    async def _drip(self, writer: asyncio.StreamWriter, head: bytes, drop: bytes) -> None:
        writer.write(head)
        for _ in range(600):
            await asyncio.sleep(0.1)
            writer.write(drop)
            await writer.drain()

    async def _flood(self, writer: asyncio.StreamWriter, head: bytes, wave: bytes) -> None:
        writer.write(head)
        for _ in range(20_000):
            writer.write(wave)
            await writer.drain()
