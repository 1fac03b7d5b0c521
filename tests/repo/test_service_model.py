"""The shipped service model is what the script makes of the installed botocore."""

import json

import botocore

from repo.trim_service_model import OPERATIONS, TARGET, trimmed


def test_the_shipped_model_is_the_installed_botocores():
    shipped = json.loads(TARGET.read_text(encoding="utf-8"))

    assert shipped == trimmed(), (
        f"botocore {botocore.__version__} describes one of our operations in another way: "
        "run tests/repo/trim_service_model.py, read the difference, and serve it"
    )
    assert sorted(shipped["operations"]) == sorted(OPERATIONS)


def test_the_shipped_model_holds_no_documentation():
    def strings(value):
        if isinstance(value, dict):
            assert "documentation" not in value
            for item in value.values():
                strings(item)

    strings(json.loads(TARGET.read_text(encoding="utf-8")))
