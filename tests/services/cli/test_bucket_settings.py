"""Settings as people write them, and as they are shown."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import BucketSettings, PatchBucket, Redaction, Retention
from services.cli import bucket_settings, exits
from services.cli.exits import Trouble


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("name=a b", {"name": "a b"}),
        ("capture=off", {"capture": "off"}),
        ("sampling=0.5", {"sampling": 0.5}),
        ("body_cap_bytes=64KiB", {"body_cap_bytes": 65536}),
        ("body-cap-bytes=1.5MB", {"body_cap_bytes": 1_500_000}),
        ("verify_tls=false", {"verify_tls": False}),
        ("allowed_hosts=a.example, *.b.example", {"allowed_hosts": ["a.example", "*.b.example"]}),
        ("allowed_hosts=", {"allowed_hosts": []}),
        ("notes=a=b", {"notes": "a=b"}),
        ("notes=", {"notes": ""}),
        ("retention.max_age_s=30d", {"retention.max_age_s": 30 * 86400}),
        ("retention.max_age_s=none", {"retention.max_age_s": None}),
        ("retention.max_bytes=2GiB", {"retention.max_bytes": 2 * 1024**3}),
        ('redaction.patterns=["a,b"]', {"redaction.patterns": ["a,b"]}),
    ],
)
def test_a_value_is_read_by_the_type_of_its_setting(word: str, wanted: dict[str, Any]) -> None:
    assert bucket_settings.read([word]) == wanted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["captur=off"], "no setting 'captur'"),
        (["capture"], "capture has no value"),
        (["off"], "'off' is no setting"),
        (["capture=of"], "capture=of"),
        (["sampling=half"], "sampling=half"),
        (["verify_tls=perhaps"], "verify_tls=perhaps"),
        (["retention.max_age_s=soon"], "retention.max_age_s 'soon'"),
        (["retention=30d"], "no setting 'retention'"),
        (["redaction.patterns=[a"], "redaction.patterns"),
        (["notes=a", "notes=b"], "given twice"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], said: str) -> None:
    with pytest.raises(Trouble) as caught:
        bucket_settings.read(words)
    assert said in str(caught.value)
    assert caught.value.exit_code == exits.USAGE
    assert caught.value.remedy


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(Trouble) as caught:
        bucket_settings.read(["x=1"])
    for name in ("capture", "redaction.mode", "retention.max_age_s", "rewrite_location"):
        assert name in caught.value.remedy


def test_every_setting_that_can_be_patched_is_known() -> None:
    filled = {"command_id", "key", "team", "actor", "actor_scopes", "if_version"}
    patched = {field.name for field in msgspec.structs.fields(PatchBucket)} - filled
    assert {name.partition(".")[0] for name in bucket_settings.known()} == patched


def test_what_stands_together_keeps_the_rest_of_it() -> None:
    now = {"retention": {"max_age_s": 60, "max_calls": None, "max_bytes": 9}}
    given = {"retention.max_age_s": None, "retention.max_calls": 5, "capture": "off"}
    wanted = {"retention": {"max_age_s": None, "max_calls": 5, "max_bytes": 9}, "capture": "off"}
    assert bucket_settings.nested(given, now) == wanted


SETTINGS = st.builds(
    BucketSettings,
    capture=st.sampled_from(["relaxed", "strict", "off"]),
    body_cap_bytes=st.integers(0, 10**7),
    sampling=st.floats(0, 1),
    verify_tls=st.booleans(),
    notes=st.text(),
    allowed_hosts=st.lists(st.text(min_size=1)).map(tuple),
    retention=st.builds(Retention, max_age_s=st.none() | st.integers(0, 10**9)),
    redaction=st.builds(Redaction, patterns=st.lists(st.text(min_size=1)).map(tuple)),
)


@given(SETTINGS)
def test_what_is_shown_can_be_set(settings: BucketSettings) -> None:
    bucket = msgspec.to_builtins(settings) | {"name": "n"}
    bucket = msgspec.json.decode(msgspec.json.encode(bucket))
    words = [f"{name}={value}" for name, value in bucket_settings.shown(bucket)]
    assert bucket_settings.nested(bucket_settings.read(words), {}) == bucket


@given(st.text(), st.sampled_from(sorted(bucket_settings.known())))
def test_any_text_is_a_value_or_trouble(text: str, name: str) -> None:
    with suppress(Trouble):
        bucket_settings.read([f"{name}={text}"])
