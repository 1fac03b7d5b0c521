import shutil
import subprocess
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import kernels
from recollect.gallery import exact, kernel, native
from recollect.gallery.codes import Centre, Query
from recollect.gallery.columns import Chunk, Layout, Shelf
from recollect.gallery.kernel import NumpyKernel, bounds, choose
from recollect.gallery.native import NativeKernel
from recollect.gallery.scan import SURVIVOR, Survivors
from recollect.gallery.view import Part, View

SOURCES = Path(native.__file__).parent


@pytest.fixture(params=["numpy", "native-0", "native-1", "native-2"])
def coder(request):
    return kernels.kernel_named(request.param)


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def chunk_of(coder, templates, centre, *, signs=False):
    """A chunk whose first rows hold templates."""
    chunk = Chunk(0, Layout(templates.shape[1], keeps_signs=signs))
    widest = coder.encode(templates, centre, chunk, slice(0, len(templates)))
    return chunk, widest


# Values that are hard on a quantiser: flat, lonely, tiny, huge beside tiny, of either sign.
values = st.sampled_from([0.0, 1.0, -1.0, 1e-3, -1e-3, 1e-7, 1e-20, 127.0, 0.5])
vectors = st.lists(values, min_size=70, max_size=70).filter(any)


@settings(max_examples=40, deadline=None)
@given(st.lists(vectors, min_size=1, max_size=5), vectors, st.one_of(st.none(), vectors))
@pytest.mark.parametrize("name", ["numpy", "native-0", "native-1", "native-2"])
def test_no_score_leaves_its_bounds(name, rows, probe, centre):
    coder = kernels.kernel_named(name)
    templates, probe = unit(rows), unit(probe)
    centre = Centre.of(None if centre is None else unit(centre), 70)
    chunk, widest = chunk_of(coder, templates, centre)
    here = slice(0, len(templates))
    query = Query.of(probe, centre)

    middle, spread = bounds(chunk, here, query, NumpyKernel().dots(chunk, here, query))

    scores = exact.scores(templates, probe) - query.base
    assert (np.abs(scores - middle) <= spread).all()
    assert widest.error == chunk.error[here].max()
    assert widest.norm == chunk.norm[here].max()


@settings(max_examples=40, deadline=None)
@given(st.lists(vectors, min_size=1, max_size=5), vectors, st.one_of(st.none(), vectors))
@pytest.mark.parametrize("name", ["numpy", "numkong", "native-0", "native-1", "native-2"])
def test_bounds_are_as_wide_as_cauchy_and_schwarz_demand(name, rows, probe, centre):
    coder = kernels.kernel_named(name)
    templates, probe = unit(rows), unit(probe)
    centre = Centre.of(None if centre is None else unit(centre), 70)
    extent = Shelf(Layout(70)).take(1)
    widest = coder.encode(templates, centre, extent.chunk, slice(0, len(templates)))
    view = View(1, [Part(extent, len(templates), widest=widest)], sequence=0)
    survivors = Survivors(4096, -10.0, len(templates))
    (span,) = view.spans(100)

    coder.sift(view, span, coder.query(probe, centre), survivors)

    def coded(templates, codes, scale):
        rest = templates.astype(np.float64) - centre.exact
        return rest, scale.astype(np.float64)[:, None] * codes[:, :70]

    count, chunk = len(templates), extent.chunk
    rest, codes = coded(templates, chunk.codes[:count], chunk.scale[:count])
    query = Query.of(probe, centre)
    probe_rest, probe_codes = coded(probe[None], query.codes[None], query.scale[None])
    width = np.linalg.norm(rest - codes, axis=1) * np.linalg.norm(probe_rest) + np.linalg.norm(
        codes, axis=1
    ) * np.linalg.norm(probe_rest - probe_codes)
    middle = codes @ probe_codes[0] + templates.astype(np.float64) @ centre.exact + query.base
    rows = survivors.rows()
    assert rows["row"].tolist() == list(range(count))
    # Float32 has 1e-6 of the 2e-6 that is allowed for it.
    assert (rows["upper"] >= middle + width + 1e-6).all()
    assert (rows["lower"] <= middle - width - 1e-6).all()
    assert (rows["upper"] <= middle + width * 1.01 + 1e-5).all()


def by_hand(template, probe):
    """The canonical score as its definition reads."""
    lanes = [0.0] * 16
    for place, (x, q) in enumerate(zip(template.tolist(), probe.tolist(), strict=True)):
        lanes[place % 16] += x * q
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[lane] + lanes[lane + half] for lane in range(half)]
    return np.float32(lanes[0])


@pytest.mark.parametrize("dimension", [1, 15, 16, 17, 100, 128])
@pytest.mark.parametrize("name", ["numpy", "native-0", "native-1", "native-2"])
def test_products_are_added_in_the_canonical_order(name, dimension):
    coder = kernels.kernel_named(name)
    random = np.random.default_rng(dimension)
    # So far apart in size that every other order gives another sum.
    scales = 2.0 ** random.integers(-40, 40, (300, dimension))
    templates = (random.standard_normal((300, dimension)) * scales).astype(np.float32)
    probe = random.standard_normal(dimension).astype(np.float32)
    extent = Shelf(Layout(dimension)).take(300)
    extent.chunk.templates[extent.start : extent.start + 300] = templates
    rows = np.zeros(300, SURVIVOR)
    rows["row"] = np.arange(300)

    scores = coder.scores(
        View(1, [Part(extent, 300)], sequence=0), rows, Query.of(probe, Centre.of(None, dimension))
    )

    expected = np.array([by_hand(template, probe) for template in templates])
    assert np.array_equal(scores, expected)
    assert np.array_equal(exact.scores(templates, probe), expected)


def test_centring_makes_finer_codes(coder):
    random = np.random.default_rng(1)
    common = unit(random.standard_normal(128))
    templates = unit(common + 0.4 * unit(random.standard_normal((500, 128))))
    centred, _ = chunk_of(coder, templates, Centre.of(templates[:250].mean(axis=0), 128))
    plain, _ = chunk_of(coder, templates, Centre.of(None, 128))

    assert centred.error[250:500].mean() < 0.6 * plain.error[250:500].mean()


def restored(query):
    """The rotated probe as its tables say."""
    none, each = query.tables[:, :1].astype(int), query.tables[:, [1, 2, 4, 8]].astype(int)
    # A weight is counted where the bit is not set if the probe is positive there, else where it is.
    weights = none - each
    return weights.reshape(-1) * query.compiled.step / 2


@pytest.mark.parametrize("dimension", [256, 300, 512, 768])
@pytest.mark.parametrize("name", ["native-0", "native-1", "native-2"])
def test_sign_bits_estimate_products_as_well_as_theory_says(name, dimension):
    coder = kernels.kernel_named(name)
    templates = unit(np.random.default_rng(2).standard_normal((400, dimension)))
    # Whole axes are as far from random as a vector can be: the rotation must make up for it.
    templates[:50] = np.eye(dimension, dtype=np.float32)[:50]
    chunk, _ = chunk_of(coder, templates, Centre.of(None, dimension), signs=True)
    query = coder.query(unit(templates[0] + templates[60]), Centre.of(None, dimension))

    bits = np.unpackbits(chunk.signs[:400], axis=1, bitorder="little")
    rotated = restored(query)
    estimates = chunk.factor[:400] * ((2.0 * bits - 1) @ rotated)

    size = bits.shape[1]
    across = 1 - 1 / (chunk.factor[:400] ** 2 * size)  # 1 - a^2
    noise = across * size / (size - 1)
    deviations = chunk.factor[:400] * np.sqrt(noise + query.compiled.weight_error**2)
    off = (estimates - templates @ query.probe) / deviations
    assert 0.8 < np.sqrt((off**2).mean()) < 1.1
    assert abs(off.mean()) < 0.25
    assert np.abs(off).max() < 5


@pytest.mark.parametrize("dimension", [256, 300, 512])
@pytest.mark.parametrize("name", ["native-0", "native-1", "native-2"])
def test_tables_hold_the_rotated_probe(name, dimension):
    coder = kernels.kernel_named(name)
    probe = unit(np.random.default_rng(3).standard_normal(dimension))

    query = coder.query(probe, Centre.of(None, dimension))

    # A rotation keeps lengths and angles: what is not lost in the levels is still there.
    rotated = restored(query)
    assert np.linalg.norm(rotated) == pytest.approx(1, abs=query.compiled.weight_error)
    assert np.abs(rotated).sum() == pytest.approx(query.compiled.agreement)
    assert query.compiled.weight_error == pytest.approx(
        query.compiled.step / 2 * np.sqrt(len(rotated) / 12), rel=0.1
    )
    assert query.compiled.weight_error < 0.1
    # Eight bytes of sign bits are counted in eight bits: no row may count more.
    eights = query.tables.reshape(-1, 16, 16).astype(int)
    assert eights.max(axis=2).sum(axis=1).max() <= 255


def test_the_kernel_stays_within_its_memory_over_odd_shapes(tmp_path):
    command = kernels.build_hook().compiler()
    program = tmp_path / "odd_shapes"
    sanitised = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"]
    source = Path(__file__).with_name("odd_shapes.c")
    built = subprocess.run(
        [*command, *sanitised, f"-I{SOURCES}", str(source), "-o", str(program), "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitisers")
    assert built.returncode == 0, built.stderr

    ran = subprocess.run([program], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr


def test_without_the_library_numkong_answers_and_says_why(monkeypatch, tmp_path, caplog):
    def missing():
        return NativeKernel(library=tmp_path / "_scan.so")

    monkeypatch.setattr(kernel, "NativeKernel", missing)

    assert choose("auto").name.startswith("numkong (no compiled kernel")
    assert "slower than they could be: no compiled kernel" in caplog.text
    with pytest.raises(OSError, match="no C compiler"):
        choose("native")


def test_a_library_of_another_version_is_refused(monkeypatch, tmp_path):
    library = shutil.copy(kernels.library(), tmp_path / "old.so")
    changed = tmp_path / "_scan.c"
    changed.write_bytes(native.SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(native, "SOURCE", changed)

    with pytest.raises(OSError, match="another version"):
        NativeKernel(library=library)


def test_a_library_that_cannot_be_loaded_is_told_without_its_folder(tmp_path):
    (tmp_path / "_scan.so").write_bytes(b"of another machine")

    with pytest.raises(OSError, match="for another machine") as told:
        NativeKernel(library=tmp_path / "_scan.so")
    assert str(tmp_path) not in str(told.value)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match="auto, native, numkong or numpy"):
        choose("cuda")
