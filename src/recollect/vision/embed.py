"""Chips to raw outputs of the embedding net, and those of a face's views to its template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.vision.face import Template
    from recollect.vision.session import Session

Floats = npt.NDArray[np.float32]

BATCH_CHIPS = 16


class Embedder:
    """An embedding net with the input it was trained for.

    Args:
        session: the net; one input (batch, 3, side, side), one output (batch, dimension).
        colour: order of the net's input planes.
        mean: subtracted from 0..255, in the order of the planes.
        std: divided by.
        dimension: length of the output.
    """

    def __init__(
        self,
        session: Session,
        *,
        colour: Literal["RGB", "BGR"],
        mean: Sequence[float],
        std: Sequence[float],
        dimension: int,
    ) -> None:
        self._session = session
        self._input = next(iter(session.inputs))
        self._output = next(iter(session.outputs))
        self._planes = slice(None) if colour == "RGB" else slice(None, None, -1)
        self._mean = np.array(mean, np.float32).reshape(1, 3, 1, 1)
        self._std = np.array(std, np.float32).reshape(1, 3, 1, 1)
        self.dimension = dimension

    def raw(self, chips: npt.NDArray[np.uint8]) -> Floats:
        """Run the net.

        Args:
            chips: RGB, shape (count, side, side, 3).

        Returns:
            Shape (count, dimension), not of unit length.

        Raises:
            ArithmeticError: the net gave a number that is not finite.
        """
        found = np.empty((len(chips), self.dimension), np.float32)
        for start in range(0, len(chips), BATCH_CHIPS):
            batch = chips[start : start + BATCH_CHIPS, ..., self._planes].transpose(0, 3, 1, 2)
            planes = (np.ascontiguousarray(batch, np.float32) - self._mean) / self._std
            (rows,) = self._session.run({self._input: planes}, [self._output])
            found[start : start + len(rows)] = rows
        if not np.isfinite(found).all():
            raise ArithmeticError("the embedding net gave a number that is not finite")
        return found


def unit(vector: Floats) -> Template:
    """Bring a vector to unit length.

    Raises:
        ArithmeticError: it has no direction.
    """
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if length < 1e-6:
        raise ArithmeticError("the embedding net gave a vector without direction")
    return (vector.astype(np.float64) / length).astype(np.float32)


def cosine(a: Floats, b: Floats) -> float:
    """Cosine of the angle between two vectors, -1..1."""
    return float(np.clip(unit(a).astype(np.float64) @ unit(b).astype(np.float64), -1, 1))
