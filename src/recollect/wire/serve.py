"""Run an ASGI application on a port: TLS, signals, and an end within a known time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvicorn

from recollect.wire.connection import Connection
from recollect.wire.limits import Limits

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from starlette.types import ASGIApp

log = structlog.get_logger("recollect")

DESCRIPTORS_KEPT = 64
"""File descriptors that connections leave to everything else."""
LAST_MOMENT_S = 0.8
"""Between the end of the drain and the hard end of the process: time to close the store."""
ANSWERING_S = 0.5
"""Between the last call of a drain and its end: time to write the answers."""


class ListenError(Exception):
    """The address or the certificate cannot be used; the message says why."""


class Server(uvicorn.Server):
    """One listening port; `run` returns when it has been stopped and every call is answered.

    Args:
        app: the ASGI application.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        limits: deadlines and bounds of the connections.
        certificate: PEM file of the certificate chain; None for plain HTTP.
        key: PEM file of its private key.
        trusted_proxies: addresses whose X-Forwarded-For and -Proto headers are believed; none by
            default, for anybody could write them.
        on_started: called with host and port as soon as connections are accepted.
        on_stopping: called at the beginning of the drain with the seconds that calls may take.

    Raises:
        ListenError: the certificate and the key cannot be used.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        limits: Limits | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        trusted_proxies: tuple[str, ...] = (),
        on_started: Callable[[str, int], None] | None = None,
        on_stopping: Callable[[float], None] | None = None,
    ) -> None:
        limits = limits or Limits()
        connections_max = min(limits.connections_max, _descriptors() - DESCRIPTORS_KEPT)
        self._limits = replace(limits, connections_max=max(connections_max, 1))
        self._tls = _tls(certificate, key) if certificate or key else None
        self._on_started = on_started
        self._on_stopping = on_stopping
        self._drain_timer: threading.Timer | None = None
        self.port = 0
        """The port listened on, once started."""
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=type("BoundConnection", (Connection,), {"limits": self._limits}),
                ws="none",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                timeout_graceful_shutdown=max(1, round(limits.drain_deadline_s - LAST_MOMENT_S)),
            )
        )

    def stop(self) -> None:
        """End soon: accept nothing more, answer what is in work. From any thread."""
        self.should_exit = True

    async def startup(self, sockets: object = None) -> None:
        """Start the application and listen.

        Raises:
            ListenError: the address is taken or not ours.
        """
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise ListenError("the application did not start")
        config, limits = self.config, self._limits
        # uvicorn writes this each second, the first time only after the first request may be here.
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        loop = asyncio.get_running_loop()
        try:
            listening = await loop.create_server(
                lambda: config.http_protocol_class(  # type: ignore[call-arg]
                    config=config,
                    server_state=self.server_state,
                    app_state=self.lifespan.state,
                    _loop=loop,
                ),
                host=config.host,
                port=config.port,
                ssl=self._tls,
                ssl_handshake_timeout=limits.header_deadline_s if self._tls else None,
                ssl_shutdown_timeout=1.0 if self._tls else None,
                backlog=config.backlog,
            )
        except OSError as error:
            await self.lifespan.shutdown()
            raise ListenError(f"cannot listen on {config.host}:{config.port}: {error}") from None
        self.servers = [listening]
        self.port = listening.sockets[0].getsockname()[1]
        self.started = True
        if self._on_started is not None:
            self._on_started(config.host, self.port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is in work, and end."""
        if self._on_stopping is not None:
            assert self.config.timeout_graceful_shutdown is not None
            self._on_stopping(self.config.timeout_graceful_shutdown - ANSWERING_S)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, and return to the caller as after any other end.

        uvicorn raises the signal again at the end, which would kill the process before the store
        is closed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        caught = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second Ctrl+C does not wait for anything."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()
        if self._drain_timer is None:
            # A thread that hangs must not keep the process: what was acknowledged is durable.
            self._drain_timer = threading.Timer(self._limits.drain_deadline_s, _leave)
            self._drain_timer.daemon = True
            self._drain_timer.start()


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """The server's side of TLS 1.2 and above."""
    if certificate is None or key is None:
        raise ListenError("TLS needs both a certificate and its key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one.
        raise ListenError(f"TLS with {certificate} and {key}: {error}") from None
    return context


def _descriptors() -> int:
    """Raise the process's bound on open files as far as it may go, and tell it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return 65536 if soft == resource.RLIM_INFINITY else soft


def _leave() -> None:
    log.error("calls did not end in time; leaving without them", at=time.time())
    sys.stdout.flush()
    os._exit(1)
