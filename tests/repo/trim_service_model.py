"""Make `wire/rekognition.json`: the part of botocore's service model that we serve.

Run it after a botocore that changes the model: `python tests/repo/trim_service_model.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.loaders

TARGET = Path(__file__).parents[2] / "src" / "recollect" / "wire" / "rekognition.json"

OPERATIONS = (
    "AssociateFaces",
    "CompareFaces",
    "CreateCollection",
    "CreateUser",
    "DeleteCollection",
    "DeleteFaces",
    "DeleteUser",
    "DescribeCollection",
    "DetectFaces",
    "DisassociateFaces",
    "IndexFaces",
    "ListCollections",
    "ListFaces",
    "ListTagsForResource",
    "ListUsers",
    "SearchFaces",
    "SearchFacesByImage",
    "SearchUsers",
    "SearchUsersByImage",
    "TagResource",
    "UntagResource",
)

METADATA = ("apiVersion", "jsonVersion", "serviceFullName", "targetPrefix")


def trimmed() -> dict[str, Any]:
    """The installed botocore's model: 21 operations, the shapes they reach, no documentation."""
    whole = botocore.loaders.Loader().load_service_model("rekognition", "service-2")
    operations = {name: _bare(whole["operations"][name]) for name in OPERATIONS}
    shapes: dict[str, Any] = {}
    for operation in operations.values():
        del operation["http"]  # POST / throughout
        for reference in (operation["input"], operation["output"], *operation["errors"]):
            _reach(reference["shape"], whole["shapes"], shapes)
    return {
        "metadata": {key: whole["metadata"][key] for key in METADATA},
        "operations": operations,
        "shapes": dict(sorted(shapes.items())),
    }


def _bare(value: Any) -> Any:
    """Drop the documentation strings, which are most of the file."""
    if isinstance(value, dict):
        return {
            key: _bare(item)
            for key, item in value.items()
            if not (key == "documentation" and isinstance(item, str))
        }
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _reach(name: str, whole: dict[str, Any], reached: dict[str, Any]) -> None:
    if name in reached:
        return
    shape = reached[name] = _bare(whole[name])
    parts = [*shape.get("members", {}).values()]
    parts += [shape[key] for key in ("member", "key", "value") if key in shape]
    for part in parts:
        _reach(part["shape"], whole, reached)


if __name__ == "__main__":
    TARGET.write_text(json.dumps(trimmed(), indent=1) + "\n", encoding="utf-8")
