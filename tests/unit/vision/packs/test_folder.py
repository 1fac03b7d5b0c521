"""Pack folders survive crashes, damage and company."""

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from recollect.vision.manifest import PackError, read_manifest
from recollect.vision.pack import load
from recollect.vision.packs import default, folder
from recollect.vision.packs.folder import UNFINISHED, is_whole, place

NAMES = ("pnet.onnx", "rnet.onnx", "onet.onnx", "resnet.onnx", "landmarks.npz")
FILES = {name: name.encode() * 10 for name in NAMES}


def text_of(files):
    return default.manifest_text({n: hashlib.sha256(d).hexdigest() for n, d in files.items()})


TEXT = text_of(FILES)
OLD = {name: data + b"old" for name, data in FILES.items()}


class PowerCutError(BaseException):
    """Nothing in the product may catch this."""


def put(models_dir, files=FILES):
    return place(models_dir, text_of(files), files, check=lambda _: None)


def test_a_placed_pack_is_whole_and_nothing_else_is_left(tmp_path):
    where = put(tmp_path)

    assert where == tmp_path / "default"
    assert is_whole(where, TEXT)
    assert sorted(p.name for p in where.iterdir()) == sorted([*NAMES, "manifest.toml"])
    assert list((tmp_path / UNFINISHED).iterdir()) == []


@pytest.mark.parametrize("before", [None, OLD, FILES])
@pytest.mark.parametrize("kept", [True, False])
def test_a_crash_leaves_the_old_pack_or_the_new_one_or_none(tmp_path, monkeypatch, before, kept):
    """Fail the N-th step, N = 0, 1, 2, until nothing fails; `kept`: what is half done stays."""
    real = {"fsync": os.fsync, "rename": type(tmp_path).rename}
    if kept:
        monkeypatch.setattr(folder.shutil, "rmtree", lambda *_, **__: None)
    for cut in itertools.count():
        models = tmp_path / f"{cut}"
        with monkeypatch.context() as whole:
            whole.undo()
            if before is not None:
                put(models, before)
        steps = itertools.count()

        def step(name, *arguments, steps=steps, cut=cut):
            if next(steps) == cut:
                raise PowerCutError
            return real[name](*arguments)

        with monkeypatch.context() as patched:
            # Stores of other tests may sync their files meanwhile.
            own = {**vars(os), "fsync": lambda *a, step=step: step("fsync", *a)}
            patched.setattr(folder, "os", SimpleNamespace(**own))
            patched.setattr(type(tmp_path), "rename", lambda *a, step=step: step("rename", *a))
            try:
                put(models)
            except PowerCutError:
                finished = False
            else:
                finished = True
        found = models / "default"
        assert (
            is_whole(found, TEXT)
            or (before is not None and is_whole(found, text_of(before)))
            or not found.exists()
        )
        assert not any(p.name.startswith("manifest") for p in models.glob("*"))
        if finished:
            assert is_whole(found, TEXT)
            assert cut > 6
            return
        put(models)
        assert is_whole(found, TEXT)


def test_many_at_once_leave_one_good_pack(tmp_path):
    errors = []

    def again():
        try:
            for _ in range(5):
                put(tmp_path)
        except Exception as error:  # a thread's error would be lost otherwise
            errors.append(error)

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert is_whole(tmp_path / "default", TEXT)


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest", "empty"])
def test_damage_is_noticed_and_repaired(tmp_path, damage):
    where = put(tmp_path)
    if damage == "changed":
        (where / "rnet.onnx").write_bytes(b"x")
    elif damage == "missing":
        (where / "rnet.onnx").unlink()
    elif damage == "manifest":
        (where / "manifest.toml").write_text(TEXT + "\n")
    else:
        (where / "manifest.toml").write_bytes(b"")

    assert not is_whole(where, TEXT)
    assert is_whole(put(tmp_path), TEXT)


@pytest.mark.parametrize("wrong", [dict(list(FILES.items())[:-1]), FILES | {"more.onnx": b""}, OLD])
def test_files_that_are_not_those_of_the_manifest_are_refused(tmp_path, wrong):
    with pytest.raises(PackError):
        place(tmp_path, TEXT, wrong, check=lambda _: None)

    assert not (tmp_path / "default").exists()


def test_a_pack_that_does_not_load_is_never_put_in_place(tmp_path):
    put(tmp_path, OLD)

    with pytest.raises(PackError, match=r"pnet\.onnx is not an ONNX file"):
        place(tmp_path, TEXT, FILES, check=load)

    assert is_whole(tmp_path / "default", text_of(OLD))


def test_what_a_crash_left_is_swept_once_it_is_old(tmp_path):
    put(tmp_path)
    for name, age_s in (("old", folder.UNFINISHED_S_MAX + 60), ("young", 60)):
        left = tmp_path / UNFINISHED / name
        left.mkdir()
        os.utime(left, (time.time() - age_s,) * 2)

    put(tmp_path)

    assert [p.name for p in (tmp_path / UNFINISHED).iterdir()] == ["young"]


@pytest.mark.models
def test_the_default_pack_is_rebuilt_where_it_is_damaged_and_only_there(models_dir, tmp_path):
    told = []
    good = models_dir / default.NAME
    shutil.copytree(good, tmp_path / default.NAME)

    assert default.build(tmp_path, told.append) == tmp_path / default.NAME
    assert told == []

    (tmp_path / default.NAME / "pnet.onnx").write_bytes(b"")
    assert not default.is_current(tmp_path / default.NAME)
    where = default.build(tmp_path, told.append)

    assert len(told) == 5
    assert default.is_current(where)
    # Another time makes the same bytes.
    for name in read_manifest(good).files:
        assert (where / name).read_bytes() == (good / name).read_bytes()


def test_weights_that_are_not_ours_are_not_even_decoded(tmp_path, monkeypatch):
    package = tmp_path / "mtcnn"
    (package / "assets" / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "assets" / "weights" / "pnet.lz4").write_bytes(b"something else")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-P", "-m", "recollect.vision.packs.default", str(tmp_path / "m")]

    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert answer.returncode == 1
    assert answer.stderr.strip().endswith("is not the file we know: its SHA-256 differs")
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    with pytest.raises(PackError, match=r"could not be built: .*SHA-256 differs"):
        default.build(tmp_path / "m", lambda _: None)
