"""The master key: where it comes from, when it is refused, how another takes its place."""

import stat
import sys

import pytest

from recollect.gallery import master
from recollect.gallery.crypt import Damaged
from recollect.gallery.store import StoreUnusable

KEY = bytes(range(32))
OTHER = KEY[::-1]


def test_the_first_start_makes_a_key_that_only_the_owner_reads(tmp_path):
    path = tmp_path / "data" / "master.key"

    made = master.obtain(path)

    assert len(made) == 32
    assert master.obtain(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["master.key"]
    assert master.obtain(tmp_path / "other.key") != made


def test_a_key_that_was_given_is_taken(tmp_path):
    path = tmp_path / "master.key"

    assert master.obtain(path, given=f" {KEY.hex().upper()}\n") == KEY
    assert master.obtain(path, command=f"echo {KEY.hex()}") == KEY
    assert not path.exists()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"given": "abc"}, "the master key that was given is not 64 hexadecimal digits"),
        ({"given": KEY.hex() + "00"}, "is not 64 hexadecimal digits"),
        ({"command": "echo secret-that-must-not-be-shown"}, "what the master key command prints"),
        ({"command": "exit 3"}, "the master key command failed with 3"),
        ({"given": KEY.hex(), "command": "true"}, "not both"),
    ],
)
def test_a_key_that_cannot_be_used_is_a_clear_refusal(tmp_path, how, says):
    with pytest.raises(StoreUnusable, match=says) as refused:
        master.obtain(tmp_path / "master.key", **how)
    assert "secret-that" not in str(refused.value)


def test_a_command_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(master, "COMMAND_S_MAX", 0.2)
    with pytest.raises(StoreUnusable, match=r"took over 0\.2 s"):
        master.obtain(tmp_path / "k", command=f"exec {sys.executable} -c 'input()' < /dev/zero")


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "master.key"
    master.obtain(path)
    path.chmod(0o640)

    with pytest.raises(StoreUnusable, match="can be read by others: chmod 600"):
        master.obtain(path)


def test_a_spoilt_key_file_is_refused(tmp_path):
    path = tmp_path / "master.key"
    path.write_bytes(b"\xff" * 32)
    path.chmod(0o600)

    with pytest.raises(StoreUnusable, match="is not 64 hexadecimal digits"):
        master.obtain(path)


def test_no_new_key_is_made_beside_old_data(tmp_path):
    (tmp_path / "recollect.db").touch()

    with pytest.raises(StoreUnusable, match="is missing, and the data in"):
        master.obtain(tmp_path / "master.key")
    assert not (tmp_path / "master.key").exists()


def test_a_data_key_opens_under_each_key_it_is_sealed_under_and_no_other():
    seals = master.sealed(b"d" * 32, [KEY, OTHER])

    assert len(seals) == 2 * master.SEALED_BYTES == 120
    assert master.unsealed(seals, KEY) == master.unsealed(seals, OTHER) == b"d" * 32
    with pytest.raises(Damaged):
        master.unsealed(seals, bytes(32))
    with pytest.raises(Damaged):
        master.unsealed(master.sealed(b"d" * 32, [OTHER]), KEY)


def test_data_under_two_keys_says_so(caplog):
    master.unsealed(master.sealed(b"d" * 32, [KEY]), KEY)
    assert caplog.messages == []
    master.unsealed(master.sealed(b"d" * 32, [KEY, OTHER]), KEY)
    assert "opens under two master keys" in caplog.text


def test_sealing_again_leaves_no_file_of_an_earlier_try(tmp_path):
    path = tmp_path / "data.key"
    (tmp_path / "data.key.new").write_bytes(master.sealed(b"d" * 32, [KEY]))
    (tmp_path / "data.key.new.123").write_bytes(master.sealed(b"d" * 32, [KEY]))

    master.seal_again(path, b"d" * 32, [OTHER])

    assert [file.name for file in tmp_path.iterdir()] == ["data.key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert master.data_key(path, OTHER) == b"d" * 32
