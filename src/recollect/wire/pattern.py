"""The regular expressions of service models, whole-text and linear in the text's length."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

CATEGORY = re.compile(r"\\p\{([A-Z])\}")

# Python's re knows no \p{L}. A character beyond ASCII is stood in for by one private character for
# its whole category, and the expression asks for that one: no table of a million characters.
STAND_IN = {category: chr(0xE000 + ord(category)) for category in "CLMNPSZ"}


class Pattern(NamedTuple):
    """One expression of the model, ready to be matched."""

    expression: re.Pattern[str]
    by_category: bool

    def matches(self, text: str) -> bool:
        """Whether the whole text fits."""
        if self.by_category and not text.isascii():
            text = text.translate(
                {
                    ord(character): STAND_IN[unicodedata.category(character)[0]]
                    for character in set(text)
                    if not character.isascii()
                }
            )
        return self.expression.fullmatch(text) is not None


@cache
def compiled(source: str) -> Pattern:
    """Translate and compile an expression as Java reads it: `\\p{L}` and kin inside a class."""
    translated, found = CATEGORY.subn(lambda match: _class_part(match[1]), source)
    return Pattern(re.compile(translated, re.ASCII), found > 0)


def _class_part(category: str) -> str:
    """The characters of a category as they stand in a class: ASCII's own and the stand-in."""
    ascii_ones = (
        re.escape(chr(code))
        for code in range(128)
        if unicodedata.category(chr(code))[0] == category
    )
    return "".join(ascii_ones) + STAND_IN[category]
