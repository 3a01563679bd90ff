"""Every client command against a running installation: what went through the gateway is what the commands
show."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli import exits
from tests.services.cli.an_installation import Installation, an_installation

pytestmark = pytest.mark.slow

ORDER = json.dumps({"tea": "assam", "quantity": 2}).encode()


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation with four calls: 200, 404, 201, and one that nobody answered."""
    with an_installation(tmp_path_factory.mktemp("cli") / "data", "--sample") as found:
        found.call("/teas/sencha?page=1")
        found.call("/nothing-here")
        found.call("/orders", ORDER, **{"Content-Type": "application/json"})
        sample, found.told["sample_url"] = found.told["sample_url"], "http://127.0.0.1:1"
        found.call("/refused")
        found.told["sample_url"] = sample
        for _ in range(40):
            if len(found.json("calls")["calls"]) == 4:
                break
        yield found


def test_calls_newest_first_and_filtered(it: Installation) -> None:
    calls = it.json("calls", "--before", "0s", "--limit", "500")["calls"]
    times = [call["started_at"] for call in calls]
    assert times == sorted(times, reverse=True)
    for arguments, paths in (
        (("--status", "4xx"), ["/nothing-here"]),
        (("--status", "404"), ["/nothing-here"]),
        (("--error",), ["/refused"]),
        (("--path", "/teas/s"), ["/teas/sencha"]),
        (("--method", "post", "--no-error"), ["/orders"]),
        (("--host", "127.0.0.1:1"), ["/refused"]),
        (("--since", "1h", "--path", "/no"), ["/nothing-here"]),
        (("--before", "1h"), []),
        (("status:4xx",), ["/nothing-here"]),
        (("status:>=200 -path:/teas* -path:/orders",), ["/nothing-here"]),
        (("-is:answered",), ["/refused"]),
        (("(path:*here OR error:connect-*) since:1h", "--no-error"), ["/nothing-here"]),
    ):
        found = it.json("calls", *arguments)["calls"]
        assert sorted({call["path"] for call in found}) == paths, arguments


def test_facets_count_what_a_query_finds(it: Installation) -> None:
    listed = [call["status"] for call in it.json("calls", "-n", "500")["calls"]]
    facets = it.json("calls", "--facets")
    assert (facets["counted"], facets["complete"]) == (len(listed), True)
    classes = Counter("none" if status is None else f"{status // 100}xx" for status in listed)
    assert {each["value"]: each["count"] for each in facets["statuses"]} == classes
    assert classes.keys() == {"2xx", "4xx", "none"}
    answered = it.json("calls", "is:answered", "--facets", "--since", "1h")["counted"]
    assert answered == len(listed) - classes["none"]
    told = it.run("calls", "method:post", "--facets").stdout
    assert "POST" in told
    assert "/orders" in told
    assert it.run("calls", "--facets", "--host", "a").returncode == exits.USAGE


def test_calls_for_people(it: Installation) -> None:
    told = it.run("calls").stdout
    for part in ("GET", "200", "/teas/sencha", "?page=1", "connect-refused", "404", "POST", "201"):
        assert part in told
    assert "The newest 1" in it.run("calls", "-n", "1").stdout
    assert "No such calls" in it.run("calls", "--before", "1h").stdout


def test_show_one_call_whole(it: Installation) -> None:
    (call,) = it.json("calls", "--method", "POST", "-n", "1")["calls"]
    told = it.run("show", call["id"][-8:]).stdout
    for part in (
        call["id"],
        "POST http://127.0.0.1:",
        '"tea": "assam"',
        "HTTP/1.1 201",
        "Location: /orders/",
        "wait",
    ):
        assert part in told
    document = it.json("show", call["id"])
    assert document["id"] == call["id"]
    assert json.loads(document["request"]["body"]["content"]["text"]) == json.loads(ORDER)


def test_show_in_forms_that_send_it_again(it: Installation) -> None:
    (call,) = it.json("calls", "--method", "POST", "-n", "1")["calls"]
    curl = it.run("show", call["id"], "--as", "curl").stdout
    done = subprocess.run(
        ["bash", "-c", f"{curl.rstrip()} --silent"], capture_output=True, text=True, check=True, timeout=20
    )
    assert json.loads(done.stdout)["tea"] == "assam"
    assert "requests" in it.run("show", call["id"], "--as", "python").stdout
    har = json.loads(it.run("show", call["id"], "--as", "har").stdout)
    assert har["log"]["entries"][0]["request"]["method"] == "POST"


def test_replay_through_the_gateway_is_captured_and_compared(it: Installation) -> None:
    (call,) = it.json("calls", "--path", "/teas/sencha", "-n", "1")["calls"]
    same = it.run("replay", call["id"])
    assert same.returncode == exits.OK, same.stderr
    assert "The same answer." in same.stdout
    (order,) = it.json("calls", "--method", "POST", "-n", "1")["calls"]
    done = it.run("replay", order["id"], "--json")
    assert done.returncode == exits.NO, done.stderr
    document = json.loads(done.stdout)
    assert document["before"]["status"] == document["now"]["status"] == 201
    assert any(line.startswith('+  "id"') for line in document["differences"]["body"])
    assert it.shown(document["new_id"])["request"]["method"] == "POST"


def test_replay_around_the_gateway_is_not_captured(it: Installation) -> None:
    (call,) = it.json("calls", "--path", "/teas/sencha", "-n", "1")["calls"]
    before = len(it.json("calls", "--limit", "500")["calls"])
    assert it.json("replay", call["id"], "--direct")["new_id"] is None
    assert len(it.json("calls", "--limit", "500")["calls"]) == before


def test_export_is_a_har_of_the_selection(it: Installation, tmp_path: Path) -> None:
    file = tmp_path / "calls.har"
    done = it.run("export", str(file), "--path", "/nothing-here")
    assert done.returncode == 0, done.stderr
    entries = json.loads(file.read_text())["log"]["entries"]
    assert {entry["response"]["status"] for entry in entries} == {404}
    beside = tmp_path / "beside.har"
    assert it.run("export", str(beside), "path:/nothing-here").returncode == 0
    assert json.loads(beside.read_text())["log"]["entries"] == entries
    again = it.run("export", str(file))
    assert (again.returncode, "--force" in again.stderr) == (exits.CANNOT_WRITE, True)
    assert it.run("export", str(file), "--force", "-n", "2").returncode == 0
    assert len(json.loads(file.read_text())["log"]["entries"]) == 2
    for standard_output in ([], ["-"]):
        done = it.run("export", *standard_output, "-n", "1")
        assert len(json.loads(done.stdout)["log"]["entries"]) == 1, done.stderr


def test_tail_tells_calls_as_they_come(it: Installation) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "services", "tail", "--path", "/tea"],
        env=it.environment,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as following:
        assert following.stdout is not None
        assert "as they come" in following.stdout.readline()
        line = ""
        # It follows from the moment its stream began, which nothing tells; so call until it tells of a call.
        heard = threading.Event()

        def call() -> None:
            while not heard.wait(0.05):
                it.call("/nothing-here")
                it.call("/teas?from=tail")

        calling = threading.Thread(target=call)
        calling.start()
        try:
            line = following.stdout.readline()
        finally:
            heard.set()
            calling.join()
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=20)
    assert "/teas?from=tail" in line
    assert following.returncode == exits.OK


def test_url_in_both_schemes_and_for_programs(it: Installation) -> None:
    gateway, key = it.told["gateway_url"], it.told["bucket"]
    assert (
        it.run("url", "https://api.example.com/x?y").stdout
        == f"{gateway}/{key}/https://api.example.com/x?y\n"
    )
    port = gateway.rpartition(":")[2]
    host = it.json("url", "--host", "http://api.example.com:8080/x")
    assert host["url"] == f"http://api-example-com-{key}.localhost:{port}/x"
    assert host["headers"] == {"Trunkline-Request-Port": "8080"}
    wrong = it.run("url", "ftp://api.example.com")
    assert (wrong.returncode, wrong.stdout) == (exits.USAGE, "")


def test_status_lists_every_service(it: Installation) -> None:
    document = it.json("status")
    assert [service["service"] for service in document["services"]] == [
        "api",
        "identity",
        "request_vault",
        "traffic_gateway",
    ]
    assert document["well"] is True
    assert "ready" in it.run("status").stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code"),
    [
        (["show", "01a2060f-898d-75b2-b6b4-4120d8631b76"], {}, exits.NOT_THERE),
        (["show", "00000000"], {}, exits.NOT_THERE),
        (["calls", "--bucket", "nobodysbuckt"], {}, exits.NOT_THERE),
        (["calls", "--status", "many"], {}, exits.INVALID),
        (["calls"], {"TRUNKLINE_TOKEN": "tl_wrong"}, exits.NOT_ALLOWED),
        (["calls"], {"TRUNKLINE_API_URL": "http://127.0.0.1:1"}, exits.UNREACHABLE),
        (["calls"], {"TRUNKLINE_API_URL": "nonsense"}, exits.CONFIG),
        (["calls"], {"TRUNKLINE_DATA_DIR": "/nonexistent"}, exits.UNREACHABLE),
        (["export", "/nonexistent/x.har"], {}, exits.CANNOT_WRITE),
    ],
)
def test_what_goes_wrong_is_one_line_with_a_remedy_and_a_code(
    it: Installation, arguments: list[str], environment: dict[str, str], exit_code: int
) -> None:
    done = it.run(*arguments, **environment)
    assert done.returncode == exit_code, done.stderr
    assert done.stderr.startswith("trunkline: ")
    assert len(done.stderr.splitlines()) == 2, done.stderr
    error = json.loads(it.run(*arguments, "--json", **environment).stderr)["error"]
    assert error["exit_code"] == exit_code


def test_a_query_that_cannot_be_read_is_pointed_into(it: Installation) -> None:
    for command in (["calls"], ["tail"], ["export", "-"]):
        done = it.run(*command, "-path:/x statsu:5xx")
        assert done.returncode == exits.INVALID, done.stderr
        said, query, mark = done.stderr.splitlines()
        assert said.startswith("trunkline: q, character 10: there is no field 'statsu'; ")
        assert query[mark.index("^") :] == "statsu:5xx"


def test_output_that_nobody_reads_to_its_end_is_no_fault(it: Installation) -> None:
    command = f"{sys.executable} -m services calls --json -n 500 | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], env=it.environment, capture_output=True, text=True, timeout=20
    )
    assert (done.stdout, done.stderr) == ("{", "")
