import pytest

from recollect import settings


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path):
    file = tmp_path / "recollect.toml"
    file.write_text('port = 1\nhost = "a"\nregion = "eu-west-1"\n')

    found = settings.load({"port": 3, "host": None}, {"RECOLLECT_HOST": "b"}, file)

    assert (found.port, found.host, found.region) == (3, "b", "eu-west-1")


@pytest.mark.parametrize(
    ("environ", "text", "names"),
    [
        ({"RECOLLECT_PROT": "1"}, "", "RECOLLECT_PROT"),
        ({"RECOLLECT_PORT": "many"}, "", "RECOLLECT_PORT"),
        ({"RECOLLECT_NO_AUTH": "maybe"}, "", "RECOLLECT_NO_AUTH"),
        ({}, "prot = 1", "prot"),
        ({}, "port = ", "cannot be read"),
        ({}, '[s3.buckets."b"]\nregion = "x"', "endpoint or path"),
        ({}, '[s3.buckets."b"]\npath = "x"\nendpont = "y"', "endpont"),
        ({}, "[s3]\nbukets = 1", "buckets"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path, environ, text, names):
    file = tmp_path / "recollect.toml"
    file.write_text(text)

    with pytest.raises(settings.SettingError, match=names):
        settings.load({}, environ, file)


def test_buckets_come_from_the_file(tmp_path):
    file = tmp_path / "recollect.toml"
    file.write_text('[s3.buckets."photos.example"]\npath = "/srv/photos"\n')

    found = settings.load({}, {}, file)

    assert found.buckets["photos.example"].path == "/srv/photos"


def test_secrets_are_not_shown():
    bucket = settings.BucketSettings(endpoint="http://s3", secret_access_key="hidden")

    assert "hidden" not in repr(bucket)


def test_a_flag_that_names_no_setting_is_refused():
    with pytest.raises(settings.SettingError, match="no setting 'no_such'"):
        settings.load({"no_such": "1"}, {})
