"""An evaluation as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2230; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #dde1e8; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #9aa3b2; }
small, .why { color: #5b6472; } .why { font-size: .85em; }
figure { margin: 0; } figcaption { font-size: .85em; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)); gap: 1.5rem; }
.plots img { width: 100%; } .wide { overflow-x: auto; }
.beside { display: flex; flex-wrap: wrap; gap: 0 2.5rem; }
"""

READING = """
<p>Scores are the API's Similarity, 0 to 100; a peer's are its own. A rate stands with its 95 %
interval, from drawing people again, and with the number of trials; without an interval where no
trial failed, or every one, since drawing again cannot say how rare the other outcome is. A face
that was not found counts as an error of every mated comparison and search; non-mated ones with a
missing face are left out. <b>FMR</b>, <b>FNMR</b>: share of non-mated comparisons accepted, of
mated ones refused; TAR = 1 - FNMR. <b>FPIR</b>, <b>FNIR</b>: share of searches for a stranger
that return anybody, of searches for an enrolled person that do not return that person first;
N faces are enrolled, R = 1. Figures that the data is too small for are not given.</p>
"""


def page(document: Mapping[str, Any], plots: Mapping[str, str]) -> str:
    """The report of one run.

    Args:
        document: as it stands in the JSON file.
        plots: title to SVG.
    """
    subjects = document["subjects"]
    run = document["run"]
    parts = [
        "<h1>Evaluation of face search</h1>",
        f"<p>{escape(' · '.join(subject['subject'] for subject in subjects))}<br><small>",
        escape(
            f"{run['pictures']} pictures of {run['people']} people; intervals from "
            f"{run['resamples']} draws, seed {run['seed']}; {run['machine']}"
        ),
        "</small></p>",
        READING,
        _section("Faces found", subjects, _detection),
        _section("Comparisons (1:1)", subjects, lambda one: _rates(one["verification"])),
        _section("Open-set search (1:N)", subjects, lambda one: _rates(one["identification"])),
        _beside(document["beside"]),
        "<h2>Plots</h2><div class=plots>",
        *(_plot(title, svg) for title, svg in plots.items()),
        "</div>",
        _section("Groups, each within itself", subjects, lambda one: _rates(one["groups"])),
        _section("By size of the face", subjects, _sizes),
        _section("Changed copies of one photograph", subjects, _variants),
    ]
    return _document("Evaluation of face search", parts)


def load_page(run: str, rows: Sequence[Mapping[str, Any]], plots: Mapping[str, str]) -> str:
    """The report of a load: its rows as a table, and plots by title."""
    names = list(rows[0])
    table = _table(
        "",
        [escape(name.replace("_per_s", ", 1/s").replace("_ms", ", ms")) for name in names],
        [[escape(_entry(row[name])) for name in names] for row in rows],
    )
    parts = ["<h1>Load</h1>", f"<p><small>{escape(run)}</small></p>", table, "<div class=plots>"]
    return _document("Load", [*parts, *(_plot(*plot) for plot in plots.items()), "</div>"])


def _entry(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {code}" for code, count in value.items())
    return f"{value:.1f}" if isinstance(value, float) else "" if value is None else str(value)


def _document(title: str, parts: Sequence[str]) -> str:
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )


def percent(figure: Mapping[str, Any]) -> str:
    """A figure as text: value and interval in percent, and the trials; or why there is none."""
    if figure["value"] is None:
        return str(figure.get("why", "no trials"))
    return f"{rate(figure)} of {figure['of']:,}"


def rate(figure: Mapping[str, Any]) -> str:
    """A figure's value in percent, with its interval where it has one."""
    low, high = figure["low"], figure["high"]
    between = "" if low is None or high is None else f" [{_digits(low)}, {_digits(high)}]"
    return f"{_digits(figure['value'])} %{between}"


def _digits(share: float) -> str:
    """A share in percent: two decimals, and two digits where it is smaller than that."""
    value = 100 * share
    return f"{value:.2f}" if abs(value) >= 1 or not value else f"{value:.2g}"


def _section(title: str, subjects: Sequence[Mapping[str, Any]], show: Any) -> str:
    shown = [(subject["subject"], show(subject)) for subject in subjects]
    inner = "".join(f"<h3>{escape(name)}</h3>{html}" for name, html in shown if html)
    return f"<h2>{escape(title)}</h2>{inner}" if inner else ""


def _rates(tables: Sequence[Mapping[str, Any]]) -> str:
    """One table of figures, a row for each rate, a column for each table of data."""
    if not tables:
        return ""
    names = list(dict.fromkeys(name for table in tables for name in table["figures"]))
    head = [
        f"{table['title']}<br><small>"
        + (f"N = {table['N']}, R = {table['R']}; " if "N" in table else "")
        + f"{table['mated']:,} mated, {table['nonmated']:,} non-mated</small>"
        for table in tables
    ]
    rows = [
        [escape(name), *(_cell(table["figures"].get(name)) for table in tables)] for name in names
    ]
    return _table("", ["", *head], rows)


def _beside(tables: Sequence[Mapping[str, Any]]) -> str:
    """The first subject's rates less the second's, where there are two."""
    if not tables:
        return ""
    names = list(dict.fromkeys(name for table in tables for name in table["differences"]))
    rows = [
        [
            escape(name),
            *(
                rate(table["differences"][name]) if name in table["differences"] else ""
                for table in tables
            ),
        ]
        for name in names
    ]
    return (
        "<h2>Open-set search, the first beside the second</h2><p>Differences of the rates above, "
        "in percentage points. The intervals draw the same people for both: a difference whose "
        "interval holds 0 is none that this data can show.</p>"
        + _table("", ["", *(escape(table["title"]) for table in tables)], rows)
    )


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    if figure["value"] is None:
        return f"<span class=why>{escape(percent(figure))}</span>"
    value, _, rest = percent(figure).partition(" %")
    return f"<b>{value} %</b><br><small>{escape(rest.strip())}</small>"


def _detection(subject: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(row["set"]),
            f"{row['pictures']:,}",
            f"{row['found']:,}",
            f"{row['covers_middle']:,}",
        ]
        for row in subject["detection"]
    ]
    html = _table("", ["Set", "Pictures", "With a face", "Face covers the middle"], rows)
    if "noface" in subject:
        noface = subject["noface"]
        html += (
            f"<p>Pictures without a face: {noface['with_a_face']} of {noface['pictures']} "
            "yielded one.</p>"
        )
    if subject.get("refusals"):
        html += _table("Refused", ["Picture", "Error"], _escaped(subject["refusals"].items()))
    return html


def _sizes(subject: Mapping[str, Any]) -> str:
    tables = "".join(
        _table(
            table["title"],
            ["Smaller face", "Mated trials", f"Fail at {table['threshold']}"],
            [
                [escape(row["size"]), f"{row['of']:,}", f"{_digits(row['failed'])} %"]
                for row in table["rows"]
            ],
        )
        for table in subject["sizes"]
        if table["rows"]
    )
    return tables and f"<div class=beside>{tables}</div>"


def _variants(subject: Mapping[str, Any]) -> str:
    variants = subject.get("variants")
    if not variants:
        return ""
    rows = [
        [
            escape(row["file"] + (" (hard)" if row["hard"] else "")),
            str(row["expected"]),
            str(row["found"]),
            "" if row["score"] is None else f"{row['score']:.3f}",
            "yes" if row["largest_searched"] else "no",
            {True: "yes", False: "no", None: ""}[row["upright"]],
        ]
        for row in variants["rows"]
    ]
    return (
        f"<p>Of {variants['not_hard']} that are not hard, {variants['count_right']} have the "
        f"expected number of faces; the person is found at {escape(variants['threshold'])} in "
        f"{variants['person_found']} of {variants['not_hard_alone']} that show one person; "
        f"{variants['upright']} of {variants['upright_expected']} with an EXIF orientation "
        "have the plain picture's box.</p>"
        + _table(
            "",
            ["File", "Faces", "Found", "Score to the plain one", "Largest searched", "Upright"],
            rows,
        )
    )


def _plot(title: str, svg: str) -> str:
    data = base64.b64encode(svg.encode()).decode("ascii")
    text = escape(title, quote=True)
    return (
        f"<figure><img alt=\"{text}\" src='data:image/svg+xml;base64,{data}'>"
        f"<figcaption>{text}</figcaption></figure>"
    )


def _escaped(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in rows]


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f"<div class=wide><table>{title}<thead><tr>"
        f"{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )
