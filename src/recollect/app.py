"""Composition root: builds each part once, routes, start and stop."""

from __future__ import annotations

import ctypes
import gc
import inspect
import json
import os
import resource
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import structlog
from prometheus_client import start_http_server
from rich.console import Console
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from recollect import __version__, telemetry, trail
from recollect.administration import Administration
from recollect.gallery.arena import Arena
from recollect.gallery.gallery import Galleries
from recollect.gallery.retention import expire
from recollect.gallery.sqlite import SQLiteStore
from recollect.operations import collections, faces, images, search, tags, users
from recollect.operations.service import Parts, Service
from recollect.plan import plan
from recollect.settings import SettingError, models_folder
from recollect.tracing import tracer
from recollect.truth import ROOT_POLICY, make_key, open_store
from recollect.vision.header import Limits as PictureLimits
from recollect.vision.image import Decoder
from recollect.vision.model_pool import ModelPool
from recollect.vision.packs import choice
from recollect.vision.source import Bucket, Buckets
from recollect.wire import access, openapi, probes, serve
from recollect.wire.caller import Caller, Credential, HttpRequest
from recollect.wire.limits import Limits
from recollect.wire.pages import Beside, Guarded
from recollect.wire.replays import Replays
from recollect.wire.server import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp

    from recollect.gallery.store import Store
    from recollect.settings import Settings
    from recollect.tracing import Tracer
    from recollect.vision.model_pack import ModelPack
    from recollect.wire.outcome import Outcome
    from recollect.wire.server import Operation

log = structlog.get_logger("recollect")
console = Console(stderr=True)

PR_SET_DUMPABLE = 4
INDEX = "index.sealed"
"""The file in the data folder that keeps the index from a clean stop to the next start."""
RETENTION_TAG = "recollect:retention-days"
RETENTION_EVERY_S = 60.0

OPERATIONS: Mapping[str, Callable[[Service, Any], dict[str, Any]]] = {
    "AssociateFaces": users.associate_faces,
    "CompareFaces": images.compare_faces,
    "CreateCollection": collections.create_collection,
    "CreateUser": users.create_user,
    "DeleteCollection": collections.delete_collection,
    "DeleteFaces": faces.delete_faces,
    "DeleteUser": users.delete_user,
    "DescribeCollection": collections.describe_collection,
    "DetectFaces": images.detect_faces,
    "DisassociateFaces": users.disassociate_faces,
    "IndexFaces": faces.index_faces,
    "ListCollections": collections.list_collections,
    "ListFaces": faces.list_faces,
    "ListTagsForResource": tags.list_tags_for_resource,
    "ListUsers": users.list_users,
    "SearchFaces": search.search_faces,
    "SearchFacesByImage": search.search_faces_by_image,
    "SearchUsers": search.search_users,
    "SearchUsersByImage": search.search_users_by_image,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is built and not yet listening."""

    settings: Settings
    store: Store
    galleries: Galleries
    packs: Mapping[str, ModelPack]
    asgi: ASGIApp
    endpoint: Endpoint
    limits: Limits
    opened: ExitStack

    def close(self) -> None:
        """Let go of files, threads and child processes, last opened first."""
        self.opened.close()


def model_pool(settings: Settings, processes: int) -> ModelPool:
    """Start processes for every installed pack; a folder that is no good pack is a PackError."""
    manifests = sorted(models_folder(settings).glob("*/manifest.toml"))
    return ModelPool([path.parent for path in manifests], processes)


def build(settings: Settings, packs: Mapping[str, ModelPack] | None = None) -> Server:
    """Build each part once and put them together.

    Args:
        settings: all of them.
        packs: model packs by name; those of the models folder, in processes of their own, where
            not given.
    """
    planned = plan(settings)
    # Calls share the processors; each does its own work with one. OpenCV would start as many
    # threads as there are for every little picture, which costs 4 ms a call in waking them.
    cv2.setNumThreads(1)
    with ExitStack() as opened:
        pool = None
        if packs is None:
            pool = model_pool(settings, planned.model_processes)
            opened.callback(pool.close)
            packs = pool.packs
        decoder = Decoder(
            planned.decode_children,
            settings.decode_cpu_s,
            settings.decode_memory_bytes,
            limits=PictureLimits(pixels_max=settings.pixels_max, scans_max=settings.scans_max),
        )
        opened.callback(decoder.close)
        store = open_store(settings)
        opened.callback(store.close)
        _make_root_key(settings, store)

        arena = Arena(threads=planned.search_threads, kernel=settings.search_kernel)
        opened.callback(arena.close)
        galleries = Galleries(
            store,
            arena,
            lambda name: packs[name].centre if name in packs else None,
            first=_load_first(settings),
            bytes_max=settings.memory_budget_bytes,
        )
        if isinstance(store, SQLiteStore):
            saved = settings.data / INDEX
            galleries.restore(saved, store.index_key())
            galleries.load()
            # Called when nothing calls any more: last built, first closed.
            opened.callback(lambda: galleries.save(saved, store.index_key()))
        else:
            galleries.load()
        buckets = open_buckets(settings, reads_max=max(1, planned.call_threads - 1))
        opened.callback(buckets.close)
        parts = Parts(
            store=store,
            galleries=galleries,
            packs=packs,
            default_pack=_default_pack(settings, packs),
            decode=lambda data, side: decoder.decode(data, long_side_max=side),
            read_s3=buckets.read,
            token_key=store.key_for("paging tokens"),
            faces_per_collection_max=settings.faces_per_collection_max,
            users_per_collection_max=settings.users_per_collection_max,
            search_side_px=settings.search_side_px,
        )
        limits = Limits(
            connections_max=settings.connections_max,
            header_deadline_s=settings.header_deadline_s,
            body_deadline_s=settings.body_deadline_s,
            idle_deadline_s=settings.idle_deadline_s,
            drain_deadline_s=settings.drain_deadline_s,
            call_threads=planned.call_threads,
            call_queue_max=settings.call_queue_max,
            call_wait_max_s=settings.call_wait_max_s,
            call_last_wait_max_s=settings.call_last_wait_max_s,
            key_rate_per_s=settings.key_rate_per_s,
        )
        identify = _identify(settings, store)
        spans = tracer(settings.otlp_endpoint)
        if spans is not None:
            opened.callback(spans.close)
        endpoint = _endpoint(settings, parts, identify, limits, spans)
        opened.callback(endpoint.close)
        checks = {"models": lambda: bool(packs), "index": galleries.ready}
        asgi = _routes(settings, endpoint, identify, checks, packs, arena.kernel)
        opened.callback(_retention(store).set)
        decoder.ready()
        if pool is not None:
            pool.ready()
        log.info(
            "built",
            version=__version__,
            packs={name: pack.version for name, pack in packs.items()},
            default_pack=parts.default_pack,
            search_kernel=arena.kernel,
            plan=asdict(planned),
        )
        return Server(settings, store, galleries, packs, asgi, endpoint, limits, opened.pop_all())


def run(settings: Settings, packs: Mapping[str, ModelPack] | None = None) -> None:
    """Serve until told to stop; with the packs of the models folder where none are given."""
    telemetry.configure_log(settings.log_level)
    _dump_no_core()
    gc.disable()  # Of what a start makes nearly all stays: looking through it takes a tenth of it.
    server = build(settings, packs)
    _settle()
    if settings.metrics_port:
        start_http_server(settings.metrics_port, "127.0.0.1")
    try:
        serve.Server(
            server.asgi,
            host=settings.host,
            port=settings.port,
            limits=server.limits,
            certificate=settings.tls_certificate,
            key=settings.tls_key,
            trusted_proxies=tuple(p.strip() for p in settings.trusted_proxies.split(",") if p),
            on_started=lambda host, port: _announce(settings, host, port),
            on_stopping=server.endpoint.drain,
        ).run()
    finally:
        (settings.data / "address").unlink(missing_ok=True)
        server.close()


def _load_first(settings: Settings) -> list[str] | None:
    """The collections that are read at the start, or None for all, which then stay."""
    if not settings.store and not settings.memory_budget_bytes:
        return None
    return [name.strip() for name in settings.load_first.split(",") if name.strip()]


def _identify(settings: Settings, store: Store) -> Callable[[HttpRequest], Caller]:
    """Who is calling, by the keys of the store."""
    replays = Replays() if settings.strict_replay else None

    def find(key_id: str) -> Credential:
        key = store.credential(key_id)
        return Credential(
            key.key_id,
            key.secret,
            key.account,
            key.name,
            key.policies,
            key.bearer,
            key.session_token,
            key.expires_at,
            key.active,
        )

    def anybody(request: HttpRequest) -> Caller:
        return Caller(
            settings.account,
            "root",
            settings.region,
            "",
            (ROOT_POLICY,),
            request.source_ip,
            request.secure,
            request.header("user-agent"),
        )

    def identify(request: HttpRequest) -> Caller:
        with telemetry.stage("authenticate"):
            return access.authenticate(
                request,
                find,
                now=time.time(),
                region=settings.region,
                window_s=settings.clock_skew_max_s,
                replays=replays,
            )

    return anybody if settings.no_auth else identify


def _endpoint(
    settings: Settings,
    parts: Parts,
    identify: Callable[[HttpRequest], Caller],
    limits: Limits,
    spans: Tracer | None,
) -> Endpoint:
    """The pipeline in front of the operations."""
    store = parts.store

    def authorise(caller: Caller, operation: str, params: dict[str, Any]) -> None:
        with telemetry.stage("authorise"):
            access.authorise(caller, operation, params, tags_of=store.tags_of, now=time.time())

    def record(outcome: Outcome) -> None:
        with telemetry.stage("audit"):
            store.record(msgspec.json.encode(trail.record(outcome)))
        telemetry.answered(
            outcome.operation or "None",
            outcome.error.code if outcome.error else "OK",
            outcome.ended - outcome.started,
            request_id=outcome.request_id,
            caller=outcome.caller.arn if outcome.caller else None,
            source_ip=outcome.source_ip,
        )
        if spans is not None:
            spans.call(outcome, telemetry.stages_so_far())

    def refused(outcome: Outcome) -> None:
        assert outcome.error is not None
        telemetry.answered(
            outcome.operation or "None",
            outcome.error.code,
            outcome.ended - outcome.started,
            request_id=outcome.request_id,
            caller=None,
            source_ip=outcome.source_ip,
        )
        if spans is not None:
            spans.call(outcome, [])

    def bound(function: Callable[[Service, Any], dict[str, Any]]) -> Operation:
        return lambda caller, params: function(
            Service(parts, caller.account, caller.region), params
        )

    administration = Administration(
        store, account=settings.account, token_key=parts.token_key, open_door=settings.no_auth
    )
    return Endpoint(
        {name: bound(function) for name, function in OPERATIONS.items()}
        | administration.operations(),
        identify=identify,
        authorise=authorise,
        record=record,
        refused=refused,
        limits=limits,
        path_prefix=settings.path_prefix,
        cors_origins=[o.strip() for o in settings.cors_origins.split(",") if o.strip()],
    )


def _routes(
    settings: Settings,
    endpoint: Endpoint,
    identify: Callable[[HttpRequest], Caller],
    checks: Mapping[str, Callable[[], bool]],
    packs: Mapping[str, ModelPack],
    search_kernel: str,
) -> ASGIApp:
    """Every path of the port."""
    about = {
        "version": __version__,
        "no_auth": settings.no_auth,
        "default": packs[_default_pack(settings, packs)].version,
        "packs": {
            pack.version: {
                "name": name,
                "anchors": [
                    {"similarity": similarity, "fmr": fmr}
                    for similarity, fmr in pack.false_match_rates
                ],
            }
            for name, pack in packs.items()
        },
    }
    summaries = {
        name: (inspect.getdoc(function) or "").partition("\n")[0]
        for name, function in OPERATIONS.items()
    }
    described = openapi.document(__version__, (settings.path_prefix or "/",), summaries)
    routes: list[BaseRoute] = [
        Route("/livez", probes.livez),
        Route("/readyz", probes.readyz(checks, {"search_kernel": search_kernel})),
        Route("/metrics", probes.metrics(identify)),
        Route(f"{settings.path_prefix}/openapi.json", lambda _: JSONResponse(described)),
    ]
    if settings.console:
        files = Path(__file__).parent / "console"
        routes += [
            Route(f"{settings.path_prefix}/console/about.json", lambda _: JSONResponse(about)),
            Mount(
                f"{settings.path_prefix}/console", Guarded(StaticFiles(directory=files, html=True))
            ),
        ]
    return Beside(endpoint, Starlette(routes=[*routes, Mount("/", endpoint)]))


def open_buckets(settings: Settings, reads_max: int) -> Buckets:
    """The buckets of the configuration; SettingError where one of them cannot be."""
    try:
        return Buckets(
            {
                name: Bucket(
                    name=name,
                    endpoint=bucket.endpoint,
                    region=bucket.region,
                    access_key_id=bucket.access_key_id,
                    secret_access_key=bucket.secret_access_key,
                    path=Path(bucket.path) if bucket.path else None,
                )
                for name, bucket in settings.buckets.items()
            },
            deadline_s=settings.s3_deadline_s,
            reads_max=reads_max,
        )
    except ValueError as error:
        raise SettingError(f"[s3.buckets]: {error}") from None


def _default_pack(settings: Settings, packs: Mapping[str, ModelPack]) -> str:
    """The pack of new collections: the one that the setting names, or the folder's own default."""
    folder = models_folder(settings)
    if not packs:
        raise SettingError(f"no model pack in {folder}: run `recollect models setup`")
    if settings.pack == "auto":
        return choice.default(folder, {name: pack.rank for name, pack in packs.items()})
    if settings.pack not in packs:
        raise SettingError(
            f"the model pack {settings.pack!r} is not installed; there are: {', '.join(packs)}"
        )
    return settings.pack


def _make_root_key(settings: Settings, store: Store) -> None:
    """Make the root key at the first start; there is never a default one."""
    path = settings.data / "root-credentials.json"
    if any(key.name == "root" for key in store.access_keys()):
        return
    key = make_key(store, account=settings.account, name="root", policies=(ROOT_POLICY,))
    shown = {"AccessKeyId": key.key_id, "SecretAccessKey": key.secret, "Account": key.account}
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(json.dumps(shown) + "\n")
        file.flush()
        os.fsync(file.fileno())
    console.print(
        f"Made a root key, kept in {path} and shown this once:\n"
        f"  AccessKeyId      {key.key_id}\n  SecretAccessKey  {key.secret}",
        highlight=False,
    )


def _announce(settings: Settings, host: str, port: int) -> None:
    """Say where the server listens, to people and to the commands of this data folder."""
    scheme = "https" if settings.tls_certificate else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{settings.path_prefix}"
    (settings.data / "address").write_text(f"{url}\n", encoding="utf-8")
    if settings.no_auth:
        console.print("[bold red]NO AUTHENTICATION: everybody who reaches this port is root.[/]")
    console.print(f"recollect {__version__} serves {url}", highlight=False)
    if settings.console:
        console.print(f"Console: {url}/console/", highlight=False)


def _retention(store: Store) -> threading.Event:
    """Delete what is older than its collection allows, until the event is set.

    The tag `recollect:retention-days` of a collection says how old its faces may become.
    """
    closing = threading.Event()

    def keep_on() -> None:
        while not closing.wait(RETENTION_EVERY_S):
            for collection in store.every_collection():
                days = store.tags(collection).get(RETENTION_TAG, "")
                if days.isdecimal() and not closing.is_set():
                    expired = expire(store, collection, age_s=int(days) * 86_400.0)
                    if expired:
                        log.info(
                            "expired", collection=collection.collection_id, faces=expired, days=days
                        )

    threading.Thread(target=keep_on, name="retention", daemon=True).start()
    return closing


def _settle() -> None:
    """Leave what a start made to itself, and give back the memory that making it took."""
    gc.collect()
    gc.freeze()
    gc.enable()
    with suppress(AttributeError):  # glibc's, which keeps what it was given back.
        ctypes.CDLL(None).malloc_trim(0)


def _dump_no_core() -> None:
    """Keep templates and keys out of core dumps, and out of reach of other processes' debuggers."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A kernel that pipes its dumps to a program does not ask for the limit.
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("core dumps could not be forbidden by prctl")
