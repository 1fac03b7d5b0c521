"""The docs say what the code does: generated pages are current, and nothing is left out."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from recollect import settings
from recollect.administration import Administration
from recollect.app import OPERATIONS
from recollect.operations import shapes
from recollect.vision.face import Face, Pose
from recollect.wire.model import administration as model_of_ours
from recollect.wire.model import operations

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generate):
    for path, text in generate.pages().items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.relative_to(ROOT)} lags behind the code: run `python docs/generate.py`"
        )


def test_every_operation_of_the_models_is_served():
    assert set(OPERATIONS) == set(operations())
    administration = Administration(None, account="", token_key=b"")
    assert set(administration.operations()) == set(model_of_ours().operations)


def test_the_attributes_named_are_those_that_are_given(generate):
    face = Face((0.1, 0.2, 0.3, 0.4), 99.0, {}, Pose(0, 0, 0), 50.0, 50.0, 40.0, np.zeros((5, 2)))

    assert generate.GIVEN.keys() == shapes.face_detail(face).keys()


def test_every_setting_says_what_it_is():
    for name, _, _, text in settings.table():
        assert text, f"{name} has no help"
        assert not text.endswith("."), f"the help of {name} is a phrase, without a period"


def test_the_readme_is_short_enough_to_read():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_links_between_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_source_file_says_in_one_line_what_it_is():
    for path in (ROOT / "src").rglob("*.py"):
        first = path.read_text("utf-8").lstrip().splitlines()[0]
        assert first.startswith('"""'), f"{path.relative_to(ROOT)} begins without its line"
        assert first.rstrip('"').endswith("."), f"{path.relative_to(ROOT)}: one sentence"
