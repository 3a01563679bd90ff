from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import CannotOpen
from bus.rabbitmq.address import parse


def test_defaults_are_those_of_a_fresh_broker() -> None:
    address = parse("amqp://localhost")
    assert (address.port, address.user, address.password, address.vhost) == (5672, "guest", "guest", "/")
    assert parse("amqps://localhost").port == 5671


def test_escapes_are_undone_and_the_password_is_not_shown() -> None:
    address = parse("amqp://me%40x:s%2Fcr%3At@[::1]:5673/team%2Fone?heartbeat=5&namespace=t1.")
    assert (address.user, address.password, address.host) == ("me@x", "s/cr:t", "::1")
    assert (address.vhost, address.heartbeat_s, address.namespace) == ("team/one", 5.0, "t1.")
    assert str(address) == "amqp://me@x@[::1]:5673/team%2Fone"
    url = address.url(heartbeat_s=60)
    assert (url.user, url.password, url.host, url.query["heartbeat"]) == ("me@x", "s/cr:t", "::1", "60")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://broker", "http:"),
        ("amqp://", "host"),
        ("amqp://me:s3cret@broker:port", "port"),
        ("amqp://me:s3cret@broker:99999", "port"),
        ("amqp://me:s3cret@broker?hartbeat=3", "hartbeat"),
        ("amqp://me:s3cret@broker?heartbeat=0", "heartbeat"),
        ("amqp://me:s3cret@broker?ca=x.pem", "amqps"),
        ("amqps://me:s3cret@broker?key=x.pem", "cert"),
        ("amqp://me:s3cret@broker?namespace=a%20b", "namespace"),
    ],
)
def test_a_bad_url_says_what_is_wrong_and_not_the_password(url: str, said: str) -> None:
    with pytest.raises(CannotOpen) as caught:
        parse(url)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="no-such"):
        parse(f"amqps://broker?ca={tmp_path}/no-such.pem").tls()
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(CannotOpen, match="certificates"):
        parse(f"amqps://broker?ca={tmp_path}/bad.pem").tls()
