"""What clients tell the gateway beside the address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic_gateway.domain.instructions import Instructions, instructions, without_parameters


@pytest.mark.parametrize(
    ("target", "left", "taken"),
    [
        ("/x?trunkline-playback-id=a", "/x", {"trunkline-playback-id": "a"}),
        ("/x?a=1&Trunkline-Playback-Id=a%2Db&&b", "/x?a=1&&b", {"trunkline-playback-id": "a-b"}),
        ("/x?runscope-request-port=81&q=trunkline-", "/x?q=trunkline-", {"runscope-request-port": "81"}),
        ("/x?trunkline-other=1", "/x?trunkline-other=1", {}),
        ("/trunkline-playback-id=1?a", "/trunkline-playback-id=1?a", {}),
    ],
)
def test_only_the_gateway_s_own_parameters_are_taken_out(
    target: str, left: str, taken: dict[str, str]
) -> None:
    assert without_parameters(target) == (left, taken)


@given(st.lists(st.text("ab=%+?;/", max_size=6), min_size=1), st.integers(0, 9))
def test_every_other_byte_of_a_query_stays(parts: list[str], at: int) -> None:
    with_ours = list(parts)
    with_ours.insert(at % (len(parts) + 1), "trunkline-bucket-auth=x")
    left, taken = without_parameters("/p?" + "&".join(with_ours))
    assert left == "/p?" + "&".join(parts)
    assert taken == {"trunkline-bucket-auth": "x"}


def test_headers_go_before_parameters_and_trunkline_before_runscope() -> None:
    given_headers = {"runscope-playback-id": "header"}
    parameters = {"trunkline-playback-id": "parameter", "trunkline-request-port": "1"}
    parameters["runscope-request-port"] = "2"
    assert instructions(given_headers, parameters) == Instructions("1", "header", None)
