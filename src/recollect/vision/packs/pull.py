"""`models pull`: a pack's files from their official address, pinned by SHA-256, resumed."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from recollect.vision.manifest import PackError, parse
from recollect.vision.packs import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from recollect.vision.manifest import Manifest

CHUNK_BYTES = 1 << 16
DOWNLOADS = ".downloads"
"""Folder of half-fetched files inside the models folder; its name keeps it from being a pack."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only where it does not leave TLS."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: object,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise PackError(f"{req.full_url} redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def pull(
    name: str,
    models_dir: Path,
    *,
    source: str | None = None,
    timeout_s: float = 30.0,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str, int, int], None] = lambda _file, _done, _total: None,
) -> Path:
    """Fetch a pack of the catalogue and install it.

    A download that broke off is continued where it stopped. Nothing is installed that has not the
    digest pinned in the manifest, wherever it came from.

    Args:
        name: one of `catalogue.CATALOGUE`.
        models_dir: where packs live.
        source: a folder or URL that holds the files, in place of their official addresses.
        timeout_s: longest silence of the other side.
        say: told in a sentence what is being done.
        progress: told a file's name, the bytes that are here and those there are.

    Returns:
        The pack's folder.

    Raises:
        PackError: the name is unknown, a file cannot be had (the text says which and where to
            put it) or is another than the one pinned.
    """
    if name not in catalogue.CATALOGUE:
        raise PackError(f"no pack {name!r} is known; there are {', '.join(catalogue.CATALOGUE)}")
    if source is not None and not source.startswith(("http://", "https://")):
        return catalogue.install(name, Path(source), models_dir, say)
    downloads = models_dir / DOWNLOADS
    downloads.mkdir(parents=True, exist_ok=True)
    pinned = digests(name)
    for file, official in catalogue.CATALOGUE[name].items():
        url = official.url if source is None else f"{source.rstrip('/')}/{file}"
        path = downloads / file
        if _digest(path) == pinned[file]:
            continue
        try:
            _fetch(url, path, official.size_bytes, timeout_s, lambda d, t: progress(file, d, t))  # noqa: B023 - called in this round only
        except (OSError, http.client.HTTPException) as error:
            raise PackError(
                f"{file} could not be fetched from {url}: {error}. Without a network, put the "
                f"file (SHA-256 {pinned[file]}) into a folder and run "
                f"`recollect models pull {name} --from FOLDER`"
            ) from error
        if _digest(path) != pinned[file]:
            path.unlink()
            raise PackError(
                f"{file} from {url} is not the file that is pinned: its SHA-256 is not "
                f"{pinned[file]}"
            )
    folder = catalogue.install(name, downloads, models_dir, say)
    for file in catalogue.CATALOGUE[name]:
        (downloads / file).unlink(missing_ok=True)
    return folder


def digests(name: str) -> dict[str, str]:
    """Pinned SHA-256 of each file that a pack of the catalogue brings."""
    files = _described(name).files
    return {file: files[file].sha256 for file in catalogue.CATALOGUE[name]}


def _described(name: str) -> Manifest:
    """The pack's manifest as far as it is known before the default pack is built."""
    shared = dict.fromkeys(("pnet.onnx", "rnet.onnx", "onet.onnx", "landmarks.npz"), "0" * 64)
    return parse(catalogue.manifest_text(name, shared))


def _fetch(
    url: str, path: Path, size_bytes: int, timeout_s: float, progress: Callable[[int, int], None]
) -> None:
    """Fetch a file of a known size, continuing what is there."""
    have = path.stat().st_size if path.exists() else 0
    if have >= size_bytes:
        path.unlink()
        have = 0
    request = urllib.request.Request(url)  # noqa: S310 - https, or what the operator named
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_SafeRedirects)
    with opener.open(request, timeout=timeout_s) as answer:
        continued = answer.status == 206
        with path.open("ab" if continued else "wb") as file:
            done = have if continued else 0
            # One byte more than there can be shows a file that is too long without reading it all.
            while chunk := answer.read(min(CHUNK_BYTES, size_bytes + 1 - done)):
                file.write(chunk)
                done += len(chunk)
                progress(done, size_bytes)
                if done > size_bytes:
                    break
            file.flush()
            os.fsync(file.fileno())
    if done < size_bytes:
        raise ConnectionError(f"it broke off after {done} of {size_bytes} bytes; run it again")


def _digest(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def licences(name: str) -> str:
    """What a user agrees to with a pack of the catalogue: its files' licences and its notice."""
    described = _described(name)
    lines = [
        f"{file}: {described.files[file].licence}, from {described.files[file].origin}"
        for file in catalogue.CATALOGUE[name]
    ]
    return "\n".join([*lines, " ".join(described.notice.split())])
