"""bench search: its galleries, its figures, and its verdict on an index that errs."""

import csv

import numpy as np
import pytest
import typer

from recollect.cli.bench import index as command
from recollect.cli.failure import CommandError
from recollect.gallery.arena import Arena
from recollect.measure import engines, searching, synthetic
from recollect.measure.synthetic import KINDS, Synthetic


@pytest.fixture(scope="module", params=KINDS)
def gallery(request):
    return Synthetic(request.param, 3000, seed=2)


def test_templates_depend_on_their_row_alone(gallery):
    together = gallery.templates(np.arange(200))
    apart = np.concatenate([gallery.templates(np.arange(n, n + 1)) for n in range(0, 200, 7)])

    assert np.abs(apart - together[::7]).max() < 1e-6
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert not np.array_equal(
        Synthetic(gallery.kind, 3000, 3).templates(np.arange(9)), together[:9]
    )


def test_impostors_score_as_those_of_the_modelled_net_do(gallery):
    strangers = gallery.templates(np.arange(0, 3000, 40))
    scores = (strangers @ strangers.T)[np.triu_indices(len(strangers), 1)]
    mean, spread = {
        "resnet-128": (0.84, 0.037),
        "mobile-128": (0.0, 0.104),
        "arcface-512": (0.01, 0.058),
    }[gallery.kind]

    assert np.median(scores) == pytest.approx(mean, abs=0.02)
    low, high = np.percentile(scores, [16, 84])
    assert (high - low) / 2 == pytest.approx(spread, rel=0.35)


def test_ids_of_rows_are_ordered_as_the_rows_and_lead_back():
    rows = np.array([0, 1, 65_535, 65_536, 1 << 40])
    ids = synthetic.identifiers(rows)

    assert ids == sorted(ids)
    assert synthetic.numbers(ids) == rows.tolist()


def run(tmp_path, **options):
    command.search(
        kinds=["mobile-128"], sizes=[2000], thresholds=[0.5], probes=20, out=tmp_path, **options
    )
    with (tmp_path / "search.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_line_for_each_case_a_table_and_a_plot_with_the_limit(tmp_path, capsys):
    rows = run(tmp_path, threads=[1, 2], kernels=["numpy"], peers=True, only=["numpy float32"])

    assert [(row["engine"], row["threads"]) for row in rows] == [
        ("recollect numpy", "1"),
        ("recollect numpy", "2"),
        ("numpy float32", "1"),
    ]
    assert all(float(row["recall"]) == 1 and int(row["answers"]) > 20 for row in rows)
    assert all(float(row["of_limit"]) > 0 for row in rows[:2])
    assert float(rows[2]["of_recollect"]) > 0
    assert "limit of memory" in (tmp_path / "search.svg").read_text()
    assert "seed 1" in capsys.readouterr().out


@pytest.mark.parametrize("kind_of_error", ["one is missing", "one too many", "another score"])
def test_an_index_that_errs_is_found_out(tmp_path, monkeypatch, kind_of_error):
    search = Arena.search

    def erring(self, space, probe, **options):
        found = search(self, space, probe, **options)
        match kind_of_error:
            case "one is missing":
                return found[:-1]
            case "one too many":
                return [*found, *found[-1:]]
            case _:
                return [c._replace(score=c.score + 1e-7) for c in found]

    monkeypatch.setattr(Arena, "search", erring)
    with pytest.raises(typer.Exit):
        run(tmp_path)


def test_a_peer_that_is_missing_or_too_slow_to_build_is_named(tmp_path, monkeypatch, capsys):
    def absent(vectors):
        raise ImportError(name="nothing")

    monkeypatch.setattr(
        engines,
        "ENGINES",
        (engines.Engine("absent", absent), engines.Engine("slow", absent, faces_max=100)),
    )
    assert len(run(tmp_path, peers=True)) == 1
    told = capsys.readouterr().err
    assert "absent: not installed: nothing" in told
    assert "slow: not built of more than 100 faces" in told


def test_kinds_and_peers_that_are_unknown_are_named():
    with pytest.raises(CommandError, match="mobile-128"):
        command.search(kinds=["dlib"])
    with pytest.raises(CommandError, match="faiss Flat"):
        command.search(only=["faiss"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")
@pytest.mark.parametrize("engine", engines.ENGINES, ids=lambda engine: engine.name)
def test_a_peer_finds_what_it_should(engine):
    gallery = Synthetic("arcface-512", 2000, seed=1)
    vectors = gallery.templates(np.arange(2000))
    try:
        search = engine.build(vectors)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    oracle = searching.Oracle(gallery.probes(5), [0.4])
    oracle.see(np.arange(2000), vectors)
    for probe, wanted in zip(oracle.probes, oracle.answers(0.4), strict=True):
        found = set(search(probe, 0.4))
        assert len(found & {row for row, _ in wanted}) >= 0.9 * len(wanted)
