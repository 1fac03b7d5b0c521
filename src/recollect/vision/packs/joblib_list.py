"""Lists of arrays as joblib pickles them, read without unpickling.

A pickle is a program for a stack machine that may call anything. This machine knows the few
instructions that joblib 1.x writes for a list of NumPy arrays and can call nothing: a class name
is a string to it, and any other instruction or name ends the reading.

Source: CPython's `pickletools`; joblib 1.4, `joblib/numpy_pickle.py`, for the array bytes that
follow the pickled wrapper of each array.
"""

from __future__ import annotations

import io
import math
import pickletools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WRAPPER = "joblib.numpy_pickle NumpyArrayWrapper"
NDARRAY = "numpy ndarray"
DTYPE = "numpy dtype"
FLOAT32 = ("f4", False, True)
FLOAT32_STATE = (3, "<", None, None, None, -1, -1, 0)

INSTRUCTIONS_MAX = 10_000
VALUES_MAX = 4_000_000


class PickleRefusedError(ValueError):
    """The pickle holds something else than a list of float32 arrays."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A global that the pickle names; never looked up."""

    text: str


@dataclass(slots=True)
class _Wrapper:
    """joblib's stand-in for an array whose bytes follow."""


_MARK = object()
_DTYPE = object()


class _Machine:
    """The stack, the memo and the file behind them."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)
        self.stack: list[object] = []
        self.memo: list[object] = []
        self.values = 0

    def pop_to_mark(self) -> list[object]:
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                items = self.stack[start + 1 :]
                del self.stack[start:]
                return items
        raise PickleRefusedError("the pickle has lost its mark")

    def name(self) -> None:
        text = f"{self.stack[-2]} {self.stack[-1]}"
        if text not in (WRAPPER, NDARRAY, DTYPE):
            raise PickleRefusedError(f"the pickle names {text!r}")
        self.stack[-2:] = [_Name(text)]

    def new(self) -> None:
        if self.stack[-2:] != [_Name(WRAPPER), ()]:
            raise PickleRefusedError("the pickle makes an object that is no array")
        self.stack[-2:] = [_Wrapper()]

    def call(self) -> None:
        if self.stack[-2:] != [_Name(DTYPE), FLOAT32]:
            raise PickleRefusedError("the pickle calls something else than dtype('f4')")
        self.stack[-2:] = [_DTYPE]

    def build(self) -> None:
        state = self.stack.pop()
        if self.stack[-1] is _DTYPE and state == FLOAT32_STATE:
            return
        if not isinstance(self.stack[-1], _Wrapper) or not isinstance(state, dict):
            raise PickleRefusedError("the pickle gives a state to something that is no array")
        self.stack[-1] = self.array(state)

    def array(self, state: dict[object, object]) -> npt.NDArray[np.float32]:
        """Read the bytes of one array: a length byte, padding of that length, the values."""
        shape = state.get("shape")
        if (
            state.get("dtype") is not _DTYPE
            or state.get("order") != "C"
            or state.get("subclass") != _Name(NDARRAY)
            or not isinstance(shape, tuple)
            or not all(type(side) is int and 0 < side <= VALUES_MAX for side in shape)
        ):
            raise PickleRefusedError("an array is not a C-ordered float32 array")
        count = math.prod(shape)
        self.values += count
        if self.values > VALUES_MAX:
            raise PickleRefusedError(f"the arrays hold more than {VALUES_MAX} values")
        padding = self.file.read(1)
        self.file.read(padding[0] if padding else 0)
        raw = self.file.read(4 * count)
        if len(raw) != 4 * count:
            raise PickleRefusedError("the pickle ends inside an array")
        return np.frombuffer(raw, "<f4").reshape(shape)


def read_arrays(data: bytes) -> list[npt.NDArray[np.float32]]:
    """Read a pickled list of float32 arrays.

    Raises:
        PickleRefusedError: anything else is in it, or it is cut short.
    """
    machine = _Machine(data)
    try:
        for count, (code, argument, _) in enumerate(pickletools.genops(machine.file)):
            if count >= INSTRUCTIONS_MAX:
                raise PickleRefusedError(f"more than {INSTRUCTIONS_MAX} instructions")
            if code.name == "STOP":
                break
            _step(machine, code.name, argument)
    except PickleRefusedError:
        raise
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise PickleRefusedError(f"the pickle is damaged: {error}") from error

    found = machine.stack[0] if len(machine.stack) == 1 else None
    if machine.file.read(1) or not isinstance(found, list):
        raise PickleRefusedError("the pickle is not one list")
    if not all(isinstance(item, np.ndarray) for item in found):
        raise PickleRefusedError("the list holds something else than arrays")
    return found


def _step(machine: _Machine, name: str, argument: object) -> None:
    """Carry out one instruction."""
    stack = machine.stack
    match name:
        case "PROTO" | "FRAME":
            pass
        case "MARK":
            stack.append(_MARK)
        case "NONE" | "NEWTRUE" | "NEWFALSE":
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        case "BININT" | "BININT1" | "BININT2" | "SHORT_BINUNICODE":
            stack.append(argument)
        case "EMPTY_TUPLE":
            stack.append(())
        case "EMPTY_LIST":
            stack.append([])
        case "EMPTY_DICT":
            stack.append({})
        case "TUPLE":
            stack.append(tuple(machine.pop_to_mark()))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        case "APPEND":
            item = stack.pop()
            _list(stack[-1]).append(item)
        case "APPENDS":
            items = machine.pop_to_mark()
            _list(stack[-1]).extend(items)
        case "SETITEMS":
            items = machine.pop_to_mark()
            _dict(stack[-1]).update(zip(items[::2], items[1::2], strict=True))
        case "MEMOIZE":
            machine.memo.append(stack[-1])
        case "BINGET" | "LONG_BINGET":
            stack.append(machine.memo[int(str(argument))])
        case "STACK_GLOBAL":
            machine.name()
        case "NEWOBJ":
            machine.new()
        case "REDUCE":
            machine.call()
        case "BUILD":
            machine.build()
        case _:
            raise PickleRefusedError(f"the pickle uses {name}")


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise PickleRefusedError("the pickle appends to something that is no list")
    return value


def _dict(value: object) -> dict[object, object]:
    if not isinstance(value, dict):
        raise PickleRefusedError("the pickle fills something that is no dict")
    return value
