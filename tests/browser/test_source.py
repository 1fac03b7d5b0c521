"""The console's files: nothing that turns strings into markup or code, each file with its line."""

import re
from pathlib import Path

import pytest

CONSOLE = Path(__file__).parents[2] / "src" / "recollect" / "console"
SCRIPTS = sorted(CONSOLE.rglob("*.js"))
LINES_MAX = 220
FORBIDDEN = [
    r"\b(?:inner|outer)HTML\b",
    r"insertAdjacentHTML",
    r"document\.write",
    r"\beval\s*\(",
    r"new Function\b",
    r"createContextualFragment|DOMParser|srcdoc",
    r"setAttribute\(\s*[\"'](?:on|style|srcdoc)",
    r"set(?:Timeout|Interval)\(\s*[\"'`]",
    r"localStorage|document\.cookie|indexedDB",
    r"https?://(?!docs\.aws\.amazon\.com)",
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_makes_no_markup_of_strings_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")

    found = [pattern for pattern in FORBIDDEN if re.search(pattern, text)]

    assert found == []
    assert re.match(r"// [A-Z].*[.?!]\n", text) or re.match(r"// .*\.\n//\n", text)
    assert text.count("\n") <= LINES_MAX


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    text = (CONSOLE / "index.html").read_text(encoding="utf-8")

    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|https?://", text)
    assert re.findall(r"<script([^>]*)>([^<]*)<", text) == [(' type="module" src="app.js"', "")]
    style = (CONSOLE / "style.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|expression\(", style)


def test_every_class_that_the_style_names_is_used():
    style = (CONSOLE / "style.css").read_text(encoding="utf-8")
    used = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    used += (CONSOLE / "index.html").read_text(encoding="utf-8")

    classes = set(re.findall(r"\.([a-z][a-z-]+)", re.sub(r"\{[^}]*\}", "{}", style)))
    unused = {name for name in classes if not re.search(rf"\b{name}\b", used)}

    assert unused == set()
