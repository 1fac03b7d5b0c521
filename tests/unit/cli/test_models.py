"""models use: the pack of new collections, chosen by name, in folders of drawn packs."""

import json

import pytest

from contract.test_command_line import recollect
from drawn_packs import draw_pack
from recollect.vision.manifest import PackError
from recollect.vision.packs import choice
from recollect.vision.packs.catalogue import CATALOGUE


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two packs that load; the second has the higher rank."""
    folder = tmp_path_factory.mktemp("models")
    draw_pack(folder, "plain", rank=1)
    draw_pack(folder, "better", rank=2)
    return folder


def default_of(folder):
    listed = json.loads(recollect("models", "list", "--json", RECOLLECT_MODELS=str(folder)))
    return [pack["name"] for pack in listed if pack["default"]]


def test_the_best_pack_is_the_default_until_another_is_chosen(models):
    assert default_of(models) == ["better"]

    recollect("models", "use", "plain", RECOLLECT_MODELS=str(models))
    assert default_of(models) == ["plain"]

    recollect("models", "use", "auto", RECOLLECT_MODELS=str(models))
    assert default_of(models) == ["better"]


def test_a_narrow_terminal_shows_every_name_whole(models):
    table = recollect("models", "list", COLUMNS="80", RECOLLECT_MODELS=str(models))
    for name in ("plain", "better", *CATALOGUE):
        assert f" {name} " in table


def test_a_narrow_terminal_shows_where_a_file_comes_from_whole(tmp_path):
    manifest = draw_pack(tmp_path, "far") / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("drawn from a seed", "a/long/path" * 9))

    shown = recollect("models", "show", "far", COLUMNS="80", RECOLLECT_MODELS=str(tmp_path))

    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_a_pack_that_is_not_installed_is_not_chosen(models):
    refusal = recollect("models", "use", "absent", code=2, RECOLLECT_MODELS=str(models))
    assert "not installed" in refusal
    assert default_of(models) == ["better"]


def test_a_setting_that_decides_otherwise_is_named(models):
    # Said on standard error, beside what was done.
    recollect("models", "use", "auto", RECOLLECT_MODELS=str(models), RECOLLECT_PACK="plain")


def test_a_chosen_pack_that_has_gone_stops_the_start_in_place_of_a_weaker_one(tmp_path):
    choice.choose(tmp_path, "gone")
    with pytest.raises(PackError, match="chose the pack 'gone', which is not installed"):
        choice.default(tmp_path, {"plain": 1})


def test_a_choice_that_holds_no_name_is_refused(tmp_path):
    (tmp_path / choice.FILE).write_bytes(b"../../etc\n")
    with pytest.raises(PackError, match="names no pack"):
        choice.default(tmp_path, {"plain": 1})
