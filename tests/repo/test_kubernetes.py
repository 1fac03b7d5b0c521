"""The files under deploy/kubernetes are what Kubernetes and our settings understand."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recollect.settings import table

yaml = pytest.importorskip("yaml")

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
RESOURCES = [
    document
    for name in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    for document in yaml.safe_load_all((FOLDER / name).read_text())
]


def of_kind(kind):
    return [resource for resource in RESOURCES if resource["kind"] == kind]


def test_every_file_is_part_of_the_whole():
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]

    assert sorted([*listed, "kustomization.yaml"]) == sorted(p.name for p in FOLDER.iterdir())


@pytest.mark.parametrize(
    "resource", RESOURCES, ids=lambda r: f"{r['kind']}-{r['metadata']['name']}"
)
def test_each_resource_follows_the_schema_of_kubernetes(resource):
    # Its schemas take 108 MB, so it is no dependency: `pip install kubernetes-validate`.
    validator = pytest.importorskip("kubernetes_validate")

    validator.validate(resource, "1.32", strict=True)


def test_every_setting_that_is_given_exists():
    known = {variable for _, variable, _, _ in table()}
    (container,) = of_kind("Deployment")[0]["spec"]["template"]["spec"]["containers"]
    given = {entry["name"] for entry in container["env"]} | set(of_kind("ConfigMap")[0]["data"])

    assert given <= known


def test_selectors_meet_the_pods_and_nothing_runs_as_root():
    (deployment,) = of_kind("Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    for service in of_kind("Service"):
        assert service["spec"]["selector"] == labels
    for kind in ("PodDisruptionBudget",):
        assert of_kind(kind)[0]["spec"]["selector"]["matchLabels"] == labels
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    # The drain and the pause before it end before the pod is killed.
    settings = of_kind("ConfigMap")[0]["data"]
    assert (
        float(settings["RECOLLECT_DRAIN_DEADLINE_S"]) + 5
        < (pod["spec"]["terminationGracePeriodSeconds"])
    )


def test_the_autoscaler_asks_for_a_metric_that_there_is():
    from recollect import telemetry

    (scaler,) = of_kind("HorizontalPodAutoscaler")

    names = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
    assert names == {telemetry.CALLS_WAITING._name}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_documented_overlay_changes_what_it_names(tmp_path):
    page = (FOLDER.parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
    (overlay,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "kustomization.yaml").write_text(overlay, encoding="utf-8")

    rendered = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path / "ours")], capture_output=True, text=True, check=True
    ).stdout

    made = {resource["kind"]: resource for resource in yaml.safe_load_all(rendered)}
    assert len(list(yaml.safe_load_all(rendered))) == len(RESOURCES)
    spec = made["Deployment"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] == 5
    assert container["image"] == "registry.example.org/recollect:0.1.0"
    assert made["ConfigMap"]["data"]["RECOLLECT_CALL_THREADS"] == "8"
    assert made["ConfigMap"]["data"]["RECOLLECT_LOAD_FIRST"] == "*"
