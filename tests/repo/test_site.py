"""The documentation builds as a site: every page in its menu, no link that leads nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")
pytest.importorskip("material", reason="mkdocs-material is not installed: pip install '.[docs]'")

ROOT = Path(__file__).parents[2]


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for page in (ROOT / "docs").glob("*.md"):
        assert (tmp_path / "site" / page.stem / "index.html").exists() or page.stem == "index", page
    home = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert "Quickstart" in home
    # A site about privacy asks nobody else for its fonts and scripts.
    assert "fonts.googleapis" not in home
    assert 'src="http' not in home
