"""The pack that an operator chose for new collections: one line in the models folder.

It stands beside the packs that it chooses from, so the servers and commands that share a models
folder share the choice. The setting `pack` still says otherwise for one server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from recollect.vision.manifest import NAME, PackError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "default-pack"
BYTES_MAX = 256


def default(models_dir: Path, ranks: Mapping[str, int]) -> str:
    """The pack of new collections: the one chosen, or the one of the highest rank.

    Args:
        models_dir: where packs live.
        ranks: of the installed packs, by name; at least one.

    Raises:
        PackError: the chosen pack is not installed, or the choice cannot be read.
    """
    name = _chosen(models_dir / FILE)
    if name is None:
        return max(ranks, key=lambda installed: ranks[installed])
    if name not in ranks:
        raise PackError(
            f"`recollect models use` chose the pack {name!r}, which is not installed; there are: "
            f"{', '.join(ranks)}"
        )
    return name


def choose(models_dir: Path, name: str | None) -> None:
    """Choose a pack for new collections; None leaves it to the packs' ranks again."""
    path = models_dir / FILE
    if name is None:
        path.unlink(missing_ok=True)
        return
    # Whoever reads meanwhile finds the old choice or the new one, never half a name.
    part = models_dir / f".{FILE}.{os.getpid()}"
    part.write_text(f"{name}\n", encoding="ascii")
    part.replace(path)


def _chosen(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            name = file.read(BYTES_MAX).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror}") from error
    if not NAME.fullmatch(name):
        raise PackError(f"{path} names no pack; `recollect models use NAME` writes it anew")
    return name
