"""Paths as the routes they were called by."""

from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.calls.path_template import CUT, MAX_PATH_CHARS, MAX_SEGMENTS, path_template

UUID = "0191f3c2-7b1a-7c3e-9d52-3f2a9c1b0d4e"


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("", ""),
        ("/", "/"),
        ("*", "*"),
        ("/health", "/health"),
        ("/v1/items/123", "/v1/items/{id}"),
        ("/v1/items/123/", "/v1/items/{id}/"),
        ("//v1//7", "//v1//{id}"),
        ("/v12/Users/me/profile.json", "/v12/Users/me/profile.json"),
        ("/v2.1/x", "/v2.1/x"),
        ("/api/2.0/jobs/list", "/api/2.0/jobs/list"),
        (f"/users/{UUID}/orders", "/users/{uuid}/orders"),
        (f"/users/{UUID.upper()}", "/users/{uuid}"),
        (f"/files/user-{UUID}.png", "/files/user-{uuid}.png"),
        (f"/urn:uuid:{UUID}", "/urn:uuid:{uuid}"),
        (f"/%7B{UUID}%7D", "/{{uuid}}"),
        ("/orders/order-123", "/orders/order-{id}"),
        ("/orders/order_123_4", "/orders/order_{id}_{id}"),
        ("/orders/order%2D123", "/orders/order-{id}"),
        ("/orders/ORD12345", "/orders/ORD{id}"),
        ("/a%20b/1%32", "/a%20b/{id}"),
        ("/caf%C3%A9/menu", "/caf%C3%A9/menu"),
        ("/caf%c3%a9-123", "/caf%C3%A9-{id}"),
        ("/events/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/events/{id}"),
        ("/users/507f1f77bcf86cd799439011", "/users/{id}"),
        ("/commit/a1b2c3d", "/commit/{id}"),
        ("/blobs/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "/blobs/{id}"),
        ("/customers/cus_NffrFeUfNV2Hib", "/customers/cus_{id}"),
        ("/watch/dQw4w9WgXcQ", "/watch/{id}"),
        ("/t/V1StGXR8_Z5jdHi6B-myT", "/t/{id}"),
        ("/c/ckopqwooh000001la8mbi2im9", "/c/{id}"),
        ("/verify/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", "/verify/{id}"),
        ("/reports/2026-01-31", "/reports/{date}"),
        ("/reports/2026-01", "/reports/{date}"),
        ("/reports/2026-01-31T12:00:00.5+02:00", "/reports/{date}"),
        ("/reports/20260131T120000Z", "/reports/{date}"),
        ("/reports/sales-2026-01-31.csv", "/reports/sales-{date}.csv"),
        ("/reports/2026/01/31", "/reports/{id}/{id}/{id}"),
        ("/users/ann@example.com/keys", "/users/{email}/keys"),
        ("/users/ann%40example.com", "/users/{email}"),
        ("/@ann/posts", "/@ann/posts"),
        ("/npm/left-pad@1.3.0", "/npm/left-pad@{id}.{id}.{id}"),
        ("/static/app.3f2a9c1b.js", "/static/app.{id}.js"),
        ("/assets/index-BtKq3xQ9.js", "/assets/index-{id}.js"),
        ("/assets/jquery-3.7.1.min.js", "/assets/jquery-{id}.{id}.{id}.min.js"),
        ("/img/100x200/logo.png", "/img/{id}x{id}/logo.png"),
        ("/geo/52.52,-13.405", "/geo/{id}.{id},-{id}.{id}"),
        ("/login;jsessionid=1A2B3C4D5E6F7A8B", "/login;jsessionid={id}"),
        ("/blog/how-to-brew-tea-in-3-steps", "/blog/how-to-brew-tea-in-{id}-steps"),
        ("/blog/a-deadbeef-facade", "/blog/a-deadbeef-facade"),
        ("/oauth2/token", "/oauth2/token"),
        ("/sha256/utf8/i18n/mp3/s3/x509/face2face/area51", "/sha256/utf8/i18n/mp3/s3/x509/face2face/area51"),
        ("/iPhone15Pro/getUserAccountBalanceById2", "/iPhone15Pro/getUserAccountBalanceById2"),
        # What is left beside a number may look like an id by itself.
        ("/TZ5141aaAbb12", "/TZ{id}{id}"),
        ("/v1/{id}/x", "/v1/{id}/x"),
        ("/\u0663/\u00b2", "/\u0663/\u00b2"),
        ("/" + "a" * 65, "/{text}"),
        ("/" + "9" * 400, "/{id}"),
        ("/" + "9" * 4000 + "/x", f"/{{id}}/{CUT}"),
        ("/a" * MAX_SEGMENTS, "/a" * MAX_SEGMENTS),
        ("/a" * (MAX_SEGMENTS + 1), "/a" * (MAX_SEGMENTS - 1) + f"/{CUT}"),
        (("/" + "a" * 60) * 5, ("/" + "a" * 60) * 4 + f"/{CUT}"),
    ],
)
def test_a_path_is_the_route_it_was_called_by(path: str, template: str) -> None:
    assert path_template(path) == template
    assert path_template(template) == template


_pieces = st.sampled_from(
    (
        "/",
        "//",
        "-",
        "_",
        ".",
        "%2F",
        "%",
        "%7B",
        "{",
        "}",
        "{id}",
        "{date}",
        "@",
        "x",
        "v1",
        "123",
        "2026-01-31",
    )
) | st.sampled_from((UUID, "a1b2c3d4", "aB3xY9", "T12:00", "example.com", "\ud800", "%ff", CUT, "a" * 50))


@given(st.lists(_pieces | st.text(max_size=5), max_size=40).map("".join))
def test_any_path_has_a_template_that_is_its_own(path: str) -> None:
    template = path_template(path)
    assert path_template(template) == template
    assert len(template) <= MAX_PATH_CHARS
    assert template.count("/") <= MAX_SEGMENTS


@pytest.mark.parametrize("piece", ["/", "1-", "a1", "@a.", "2026-01-", "{", "%", "a@" + "b." * 9, "0" * 300])
def test_long_paths_take_no_longer_than_their_beginning(piece: str) -> None:
    began = perf_counter()
    path_template("/" + piece * (1_000_000 // len(piece)))
    assert perf_counter() - began < 0.5
