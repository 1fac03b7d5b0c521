"""Writes what the docs say about operations, errors and settings from the code itself.

Run `python docs/generate.py` after a change; a test compares and fails when a page lags.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from recollect import errors, settings
from recollect.administration import Administration
from recollect.app import OPERATIONS
from recollect.cli.models import GALLERIES, SHOWN, spelt
from recollect.vision.manifest import parse
from recollect.vision.packs import catalogue, default
from recollect.vision.similarity import rate_at
from recollect.wire.access import ADMINISTRATION, RESOURCES
from recollect.wire.model import every_operation, plain_operations, rekognition

if TYPE_CHECKING:
    from recollect.wire.model import Shape

SHARED = ("pnet.onnx", "rnet.onnx", "onet.onnx", "landmarks.npz")
ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- operations: generated -->", "<!-- end of operations -->"
MEANING = "<!-- meaning: generated -->", "<!-- end of meaning -->"
MADE = "<!-- Written by docs/generate.py from the code; change the code instead. -->\n"


def pages() -> dict[Path, str]:
    """Every generated page, and README with its generated part, by path."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        ROOT / "docs" / "operations.md": operations_page(),
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "docs" / "accuracy.md": accuracy_page(),
        ROOT / "README.md": f"{before}{BEGIN}\n{operations_table()}{END}{after}",
    }


def operations_table() -> str:
    """One row an operation, for the README."""
    rows = ["| operation | what it does |", "| --- | --- |"]
    rows += [f"| {name} | {_summary(name)} |" for name in sorted(OPERATIONS)]
    return "\n".join(rows) + "\n"


def operations_page() -> str:
    """Every operation with its parameters, answer, errors and permission."""
    lines = [
        "# Operations",
        "",
        MADE,
        "The AWS dialect is `POST /` with `X-Amz-Target: RekognitionService.NAME`; the plain",
        "dialect is `POST /v1/NAME`. Both call the same functions. A member marked so is",
        "the plain dialect's alone, and the AWS dialect stays exactly Rekognition's.",
        "",
    ]
    for name in sorted(OPERATIONS):
        about = "`*`" if RESOURCES[name] == "none" else "the collection"
        lines += _operation(
            "##", name, f"{_summary(name)} Needs the permission `rekognition:{name}` on {about}."
        )
    lines += [
        "## Administration",
        "",
        "Keys, policies, audit log, swaps, for the console and for programs: `POST /v1/NAME`, or",
        "`X-Amz-Target: Recollect.NAME` in the AWS dialect. Who may have these permissions:",
        "[security](security.md#who-may-administer-over-the-wire).",
        "",
    ]
    for name, about in ADMINISTRATION.items():
        method = getattr(Administration, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
        needs = "no permission" if about == "self" else f"the permission `recollect:{name}` on `*`"
        lines += _operation("###", name, f"{_first_line(method)} Needs {needs}.")
    lines += [*attributes(), ""]
    lines += ["## Errors", "", "| code | status, AWS dialect | status, plain dialect | when |"]
    lines += ["| --- | --- | --- | --- |"]
    lines += [
        f"| `{name}` | {kind.status} | {kind.web_status} | {_first_line(kind)} |"
        for name, kind in _errors()
    ]
    return "\n".join(lines) + "\n"


def accuracy_page() -> str:
    """The page on accuracy with what each measured pack's Similarity means, from its manifest."""
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    before, _, rest = page.partition(MEANING[0])
    _, _, after = rest.partition(MEANING[1])
    named = dict.fromkeys(SHARED, "0" * 64)
    manifests = [parse(default.manifest_text(named | {"resnet.onnx": "0" * 64}))]
    manifests += [parse(catalogue.manifest_text(name, named)) for name in catalogue.CATALOGUE]
    rows = [
        "| pack, Similarity | false match rate | " + " | ".join(f"N = {n:,}" for n in GALLERIES)
    ]
    rows[0] += " |"
    rows.append("| --- | --- |" + " --- |" * len(GALLERIES))
    for manifest in manifests:
        if not manifest.false_match_rates:
            rows.append(f"| `{manifest.name}` | not measured |" + " |" * len(GALLERIES))
            continue
        for similarity in SHOWN:
            rate = rate_at(manifest.false_match_rates, similarity)
            expected = " | ".join(spelt(rate * n) for n in GALLERIES)
            rows.append(f"| `{manifest.name}`, {similarity:g} | {rate:.1e} | {expected} |")
    table = "\n".join(rows)
    return f"{before}{MEANING[0]}\n{table}\n{MEANING[1]}{after}"


def _operation(heading: str, name: str, about: str) -> list[str]:
    """One operation: what it is, its parameters, its answer, its errors."""
    model, exact = plain_operations()[name], every_operation()[name]
    lines = [f"{heading} {name}", "", about, ""]
    if model.input is not None and model.input.members:
        lines += ["| parameter | type | rule |", "| --- | --- | --- |"]
        lines += [
            f"| {'**' if m in model.input.required else ''}{m}"
            f"{'**' if m in model.input.required else ''} | {_type(entry.shape)} "
            f"| {_rule(entry.shape)}{_apart(m, exact.input)} |"
            for m, entry in model.input.members.items()
        ]
        lines.append("")
    if model.output is not None:
        members = ", ".join(f"`{m}`{_apart(m, exact.output)}" for m in model.output.members)
        members = members or "nothing"
        lines += [f"Answers {members}.", ""]
    return [*lines, "Errors: " + ", ".join(f"`{e}`" for e in sorted(model.errors)) + ".", ""]


def _apart(member: str, exact: Shape | None) -> str:
    """Says so where only the plain dialect has a member."""
    return "" if exact is not None and member in exact.members else " (plain dialect only)"


GIVEN = {
    "BoundingBox": "ratios of the upright picture; may leave it at the border",
    "Confidence": "the detector's, 0..100",
    "Landmarks": "five: eyeLeft, eyeRight, mouthLeft, mouthRight, nose",
    "Pose": "degrees; Roll measured, Yaw and Pitch estimated from the five landmarks",
    "Quality": "Brightness and Sharpness of the face, 0..100",
}
"""What the members of FaceDetail that are given mean; a test compares with what is answered."""


def attributes() -> list[str]:
    """Every member of FaceDetail: given by every pack, or absent whatever is asked for."""
    members = rekognition().shape("FaceDetail").members
    absent = [f"`{name}`" for name in members if name not in GIVEN]
    return [
        "## What is said of a face",
        "",
        "Every pack computes these, whatever `Attributes` or `DetectionAttributes` ask for:",
        "",
        "| FaceDetail | what it is |",
        "| --- | --- |",
        *(f"| `{name}` | {text} |" for name, text in sorted(GIVEN.items())),
        "",
        f"No pack computes {', '.join(absent)}: they are absent, never invented.",
    ]


def settings_page() -> str:
    """Every setting with its variable, default and help."""
    lines = [
        "# Settings",
        "",
        MADE,
        "A flag wins over the environment, that over the TOML file (`--config FILE`), that over",
        "the default. `recollect serve --set NAME=VALUE` takes any of them as a flag.",
        "",
        "| name | variable | default | what it is |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{name}` | `{variable}` | {f'`{default}`' if default else ''} | {text} |"
        for name, variable, default, text in settings.table()
    ]
    lines += [
        "",
        "Buckets stand in the file only, so that no request can name a host:",
        "",
        "```toml",
        '[s3.buckets."photos"]',
        'endpoint = "https://s3.eu-west-1.amazonaws.com"',
        'region = "eu-west-1"',
        'access_key_id = "AKIA..."',
        'secret_access_key = "..."',
        "",
        '[s3.buckets."archive"]',
        'path = "/srv/archive"',
        "```",
    ]
    return "\n".join(lines) + "\n"


def _summary(name: str) -> str:
    return _first_line(OPERATIONS[name])


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _errors() -> list[tuple[str, type[errors.AnswerError]]]:
    found = inspect.getmembers(errors, inspect.isclass)
    bases = {errors.AnswerError, errors.ServiceError, errors.FrameworkError}
    return [(n, k) for n, k in found if issubclass(k, errors.AnswerError) and k not in bases]


def _type(shape: Shape) -> str:
    if shape.type == "list" and shape.member is not None:
        return f"list of {shape.member.type}"
    return f"{shape.name}" if shape.type == "structure" else shape.type


def _rule(shape: Shape) -> str:
    rules = []
    if shape.min is not None or shape.max is not None:
        low = "" if shape.min is None else f"{shape.min:g}"
        high = "" if shape.max is None else f"{shape.max:g}"
        unit = {"string": " characters", "blob": " bytes", "list": " items", "map": " entries"}
        rules.append(f"{low}..{high}{unit.get(shape.type, '')}")
    inner = shape.member if shape.type == "list" and shape.member is not None else shape
    if inner.enum:
        rules.append(", ".join(inner.enum))
    if inner.pattern:
        rules.append(f"`{inner.pattern}`".replace("|", "\\|"))
    return "; ".join(rules)


def main() -> None:
    """Write every page that differs."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
