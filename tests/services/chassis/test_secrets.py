"""The installation's key: where it comes from, what is made of it, and every way in which a sealed text is
refused."""

from __future__ import annotations

import base64
import copy
import pickle
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.config import Settings
from services.chassis.secrets import (
    KEY_FILE,
    KeyFileExposed,
    KeyFileUnusable,
    SealDamaged,
    SealKeyUnknown,
    SealMisplaced,
    SealUnreadable,
    SecretKeyInvalid,
    SecretKeyMissing,
    Secrets,
    open_secrets,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
GOLDEN = Path(__file__).parents[2] / "golden" / "secrets" / "sealed-1.txt"
BUCKET = "bucket 7xzcnsgbwox2"


def text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


# --- sealing


@given(st.binary(max_size=300), st.text(max_size=50))
def test_what_was_sealed_is_opened_and_never_looks_the_same(plain: bytes, context: str) -> None:
    secrets = Secrets([OLD])
    sealed = secrets.seal(plain, context)
    assert secrets.open(sealed, context) == plain
    assert secrets.seal(plain, context) != sealed
    assert sealed.isascii()
    assert sealed.isprintable()


@given(st.data())
def test_any_other_character_anywhere_is_refused(data: st.DataObject) -> None:
    secrets = Secrets([OLD, NEW])
    sealed = secrets.seal(b"hunter2", BUCKET)
    at = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.sampled_from("abcdefABCDEF0189-_.= ").filter(lambda char: char != sealed[at]))
    with pytest.raises(SealUnreadable):
        secrets.open(sealed[:at] + other + sealed[at + 1 :], BUCKET)
    with pytest.raises(SealUnreadable):
        secrets.open(sealed[:at], BUCKET)


def test_each_refusal_has_a_name_of_its_own() -> None:
    secrets = Secrets([NEW])
    sealed = secrets.seal(b"hunter2", BUCKET)
    with pytest.raises(SealMisplaced, match="sealed for something else than 'bucket other'"):
        secrets.open(sealed, "bucket other")
    with pytest.raises(
        SealKeyUnknown, match=rf"under the key {secrets.ids[0]}; the keys here are {Secrets([OLD]).ids[0]}"
    ):
        Secrets([OLD]).open(sealed, BUCKET)
    front, _, back = sealed.rpartition(".")
    with pytest.raises(SealDamaged):
        secrets.open(f"{front}.{'B' if back[0] == 'A' else 'A'}{back[1:]}", BUCKET)
    with pytest.raises(SealDamaged):  # what is in front is authenticated too
        Secrets([NEW, OLD]).open(sealed.replace(secrets.ids[0], Secrets([OLD]).ids[0]), BUCKET)
    for nonsense in (
        "",
        "hunter2",
        "s2.00000000.AAAA",
        f"s1.{secrets.ids[0]}.AAAA",
        sealed + "\n",
        sealed + "=",
    ):
        with pytest.raises(SealUnreadable, match="no text sealed in the form s1"):
            secrets.open(nonsense, BUCKET)


def test_a_text_of_this_version_is_readable_for_ever() -> None:
    """Never edited: a new form gets a new version and an example of its own."""
    assert Secrets([NEW, OLD]).open(GOLDEN.read_text().strip(), BUCKET) == b"hunter2"
    assert Secrets([OLD], lambda size: bytes(size)).seal(b"hunter2", BUCKET) == GOLDEN.read_text().strip()


# --- derived keys


def test_derived_keys_are_the_same_for_the_same_and_differ_for_all_else() -> None:
    secrets = Secrets([OLD])
    told = {
        secrets.derived(purpose, context)
        for purpose in ("", "a", "ab", "redaction", "id", "seal", "1:a")
        for context in ("", "a", "b", "ab", "1:a")
    }
    assert len(told) == 35
    assert all(len(key) == 32 for key in told)
    assert Secrets([OLD, NEW]).derived("redaction", "b") == secrets.derived("redaction", "b")
    assert Secrets([NEW]).derived("redaction", "b") != secrets.derived("redaction", "b")
    # Written down once: what hangs on it (masks, stored hashes) has to stay comparable.
    assert secrets.derived("redaction", "b").hex()[:16] == "fa91bbe3041ff79d"
    assert Secrets([NEW, OLD]).derived_each("x")[1] == secrets.derived("x")


# --- rotation


def test_a_key_is_replaced_without_a_moment_in_which_anything_is_unreadable() -> None:
    before = Secrets([OLD]).seal(b"hunter2", BUCKET)
    both = open_secrets(f"{text(NEW)}, {text(OLD)}", Path("/nowhere"))
    assert both.open(before, BUCKET) == b"hunter2"
    assert both.sealed_by_old(before)
    anew = both.seal(both.open(before, BUCKET), BUCKET)
    assert not both.sealed_by_old(anew)
    after = Secrets([NEW])
    assert after.open(anew, BUCKET) == b"hunter2"
    with pytest.raises(SealKeyUnknown):
        after.open(before, BUCKET)


# --- where the key comes from


def test_the_file_is_made_once_and_private(tmp_path: Path) -> None:
    first = open_secrets("", tmp_path)
    file = tmp_path / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(base64.urlsafe_b64decode(file.read_text().strip() + "=")) == 32
    assert open_secrets(" ", tmp_path).open(first.seal(b"x", "c"), "c") == b"x"
    assert [each.name for each in tmp_path.iterdir()] == [KEY_FILE], "nothing is left beside it"
    file.write_text(f"{text(NEW)}\n{file.read_text()}")
    assert open_secrets("", tmp_path).ids == (Secrets([NEW]).ids[0], first.ids[0])


def test_of_processes_that_start_at_once_one_makes_it_and_all_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_secrets("", tmp_path)
    monkeypatch.setattr(Path, "exists", lambda path: False)  # the second looked before the first was done
    assert open_secrets("", tmp_path).ids == first.ids
    assert [each.name for each in tmp_path.iterdir()] == [KEY_FILE]


def test_the_setting_goes_before_the_file_and_makes_none(tmp_path: Path) -> None:
    assert open_secrets(text(OLD), tmp_path).ids == Secrets([OLD]).ids
    assert open_secrets(text(OLD).rstrip("="), tmp_path).ids == Secrets([OLD]).ids
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    open_secrets("", tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(KeyFileExposed, match=f"has mode {mode:04o}; only its owner may read it"):
        open_secrets("", tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyFileUnusable, match=r"installation\.key: No such file"):
        open_secrets("", tmp_path / "absent")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (text(OLD[:31]), "TRUNKLINE_SECRET_KEY: the key has 31 bytes instead of 32"),
        (text(OLD + b"x"), "TRUNKLINE_SECRET_KEY: the key has 33 bytes instead of 32"),
        (f"{text(OLD)},{text(NEW[:16])}", "TRUNKLINE_SECRET_KEY: key 2 of 2 has 16 bytes instead of 32"),
        ("correct horse/battery", "TRUNKLINE_SECRET_KEY: key 1 of 2 is no base64url"),
        (base64.b64encode(b"\xff" * 32).decode(), "TRUNKLINE_SECRET_KEY: the key is no base64url"),
        (f"{text(OLD)},{text(OLD)}", "TRUNKLINE_SECRET_KEY: the same key stands there twice"),
        (",", "TRUNKLINE_SECRET_KEY holds no key"),
    ],
)
def test_a_wrong_key_is_told_without_being_shown(tmp_path: Path, setting: str, said: str) -> None:
    with pytest.raises(SecretKeyInvalid) as told:
        open_secrets(setting, tmp_path)
    assert str(told.value).startswith(said)
    for secret in setting.replace(",", " ").split():
        assert secret not in str(told.value)


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).touch(0o600)
    with pytest.raises(SecretKeyInvalid, match=r"installation\.key holds no key"):
        open_secrets("", tmp_path)


def test_where_others_would_not_have_it_no_key_is_made(tmp_path: Path) -> None:
    with pytest.raises(SecretKeyMissing, match="TRUNKLINE_SECRET_KEY is not set") as told:
        open_secrets("", tmp_path, make=False)
    assert told.value.exit_code == 78
    assert list(tmp_path.iterdir()) == []
    made = open_secrets("", tmp_path)
    assert open_secrets("", tmp_path, make=False).ids == made.ids, "one that is there is taken"
    assert open_secrets(text(OLD), tmp_path, make=False).ids == Secrets([OLD]).ids


# --- never shown


def test_keys_are_in_no_repr_and_cannot_be_pickled() -> None:
    secrets = Secrets([OLD, NEW])
    assert repr(secrets) == f"Secrets({secrets.ids[0]}, {secrets.ids[1]})"
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            way(secrets)
    settings = Settings(data_dir="/d", secret_key=text(OLD), vault_url="postgresql://u:hunter2@h/db")
    assert text(OLD) not in repr(settings)
    assert "hunter2" not in repr(settings)
    assert "secret_key='***'" in repr(settings)
