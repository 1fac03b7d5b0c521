"""A pack's manifest, field by field."""

import copy
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision import manifest
from recollect.vision.manifest import PackError
from recollect.vision.packs import catalogue, default

SHARED = ("pnet.onnx", "rnet.onnx", "onet.onnx", "resnet.onnx", "landmarks.npz")
TEXT = default.manifest_text(dict.fromkeys(SHARED, "ab" * 32))
TREE = tomllib.loads(TEXT)


def toml(value):
    """Write a parsed TOML value again, inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}" = {toml(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


def written(tree):
    return "\n".join(f"{name} = {toml(value)}" for name, value in tree.items())


def fields(tree, path=()):
    for name, value in tree.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from fields(value, (*path, name))


def changed(path, change):
    """The manifest with one field changed; `change` gets its table and its name."""
    tree = copy.deepcopy(TREE)
    table = tree
    for name in path[:-1]:
        table = table[name]
    change(table, path[-1])
    return written(tree)


def put(*path, value):
    return changed(path, lambda table, name: table.__setitem__(name, value))


def test_the_default_manifest_says_what_it_says():
    found = manifest.parse(TEXT)

    assert (found.name, found.model_version) == ("default", "4.0")
    assert found.embedding.views == ("ert", "mirror")
    assert found.scale.similarity(0.9426) == 80
    assert found.bars["LOW"].size_px_min < found.bars["HIGH"].size_px_min
    assert np.linalg.norm(found.embedding.known) == pytest.approx(1, abs=1e-3)
    assert manifest.parse(written(TREE)).detector == found.detector


@pytest.mark.parametrize("name", catalogue.CATALOGUE)
def test_every_manifest_of_the_catalogue_is_whole(name):
    found = manifest.parse(catalogue.manifest_text(name, dict.fromkeys(SHARED, "ab" * 32)))

    assert found.name == name
    assert set(catalogue.CATALOGUE[name]) <= set(found.files)
    if name not in catalogue.UNMEASURED:
        assert found.scale.similarity(0.4632) == 80


def test_no_two_packs_have_the_same_version():
    texts = [
        catalogue.manifest_text(n, dict.fromkeys(SHARED, "ab" * 32)) for n in catalogue.CATALOGUE
    ]
    versions = [manifest.parse(text).model_version for text in (TEXT, *texts)]

    assert len(set(versions)) == len(versions)


def test_a_manifest_without_a_field_is_refused_and_told_which():
    for path in fields(TREE):
        with pytest.raises(PackError, match="manifest:") as caught:
            manifest.parse(changed(path, lambda table, name: table.pop(name)))

        assert path[-1] in str(caught.value)


def test_a_field_that_nobody_knows_is_refused_in_every_table():
    texts = [written(TREE | {"surprise": 1})]
    for path in fields(TREE):
        if isinstance(value := lookup(path), dict) and path != ("files",):
            texts.append(put(*path, value=value | {"surprise": 1}))

    assert len(texts) == 15
    for text in texts:
        with pytest.raises(PackError, match=r"unknown field .*surprise"):
            manifest.parse(text)


def lookup(path):
    value = TREE
    for name in path:
        value = value[name]
    return value


@pytest.mark.parametrize(
    "value", ["\x00" * 5000, -1e9, 1e9, True, [], "", [[1e9, 1e9]] * 5, {"a": 1}]
)
def test_a_value_of_another_kind_is_refused_in_every_field(value):
    for path in fields(TREE):
        if path[-1] == "false_match_rates" and value == []:
            continue  # Nobody measured the pack.
        text = put(*path, value=value)
        with pytest.raises(PackError):
            manifest.parse(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), "../evil"),
        (("name",), "Default"),
        (("name",), "-x"),
        (("name",), "x" * 65),
        (("model_version",), "four"),
        (("model_version",), "4."),
        (("files", "pnet.onnx", "sha256"), "AB" * 32),
        (("files", "pnet.onnx", "licence"), "  "),
        (("detector", "files"), ["pnet.onnx", "rnet.onnx"]),
        (("detector", "files"), ["pnet.onnx", "rnet.onnx", "landmarks.npz"]),
        (("detector", "files"), ["pnet.onnx", "rnet.onnx", "other.onnx"]),
        (("detector", "kind"), "guess"),
        (("landmarks", "file"), "pnet.onnx"),
        (("landmarks", "box_px"), [100, 33, 50, 167]),
        (("landmarks", "box_px"), [33, 33, 168, 201]),
        (("embedding", "views"), []),
        (("embedding", "views"), ["mirror", "ert"]),
        (("embedding", "views"), ["ert", "ert"]),
        (("embedding", "views"), ["ert", "profile"]),
        (("embedding", "colour"), "rgb"),
        (("embedding", "std"), [1, 0, 1]),
        (("embedding", "dimension"), 127),
        (("similarity", "anchors"), [[0.5, 0], [0.4, 50], [1, 100]]),
        (("similarity", "anchors"), [[0.5, 0, 1], [1, 100]]),
        (("rank",), 1.5),
    ],
)
def test_a_value_out_of_its_bounds_is_refused(path, value):
    with pytest.raises(PackError, match="manifest:"):
        manifest.parse(put(*path, value=value))


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "../resnet.onnx", "a/b.onnx", ".onnx"])
def test_a_file_that_is_no_onnx_and_no_array_is_refused(name):
    entry = TREE["files"]["pnet.onnx"]

    with pytest.raises(PackError, match=r"only \.onnx and \.npz"):
        manifest.parse(put("files", name, value=entry))


def test_a_file_without_use_is_refused():
    with pytest.raises(PackError, match=r"spare\.onnx belongs to no model"):
        manifest.parse(put("files", "spare.onnx", value=TREE["files"]["pnet.onnx"]))


def test_one_view_needs_no_bar_for_the_agreement_of_views():
    tree = copy.deepcopy(TREE)
    tree["embedding"]["views"] = ["points"]
    del tree["embedding"]["doubt_below"]
    for bar in tree["quality"].values():
        del bar["views_score_min"]

    found = manifest.parse(written(tree))

    assert found.embedding.doubt_below == -1
    assert found.bars["HIGH"].views_score_min == -1


@given(st.text(st.sampled_from('[]{}="\n.#abc0-'), max_size=40))
def test_no_text_escapes_as_another_error(text):
    with pytest.raises(PackError):
        manifest.parse(text)
