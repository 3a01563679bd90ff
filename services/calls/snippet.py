"""A call as something to paste: a curl command, or a Python program with `requests`, that sends the same
request again.

Called by the API and the command line (`show --as curl|python`). Both send the method, the target, every
header in its order and the same body bytes. What belongs to one hop or follows from the message itself (Host
of the target, Content-Length, Transfer-Encoding, Connection ...) is left to the client. Headers and bodies
come from strangers: whatever they hold, it stays one quoted word, never a second command.
"""

from __future__ import annotations

import re
import shlex
from base64 import b64encode
from urllib.parse import urlsplit

from schemas.traffic_gateway import CallCaptured, Headers
from services.calls.body import as_kept, header

# Linux limits one argument to 128 KiB; longer bodies go through a pipe.
MAX_ARGUMENT_BYTES = 96 * 1024
_BASE64_LINE_CHARS = 76
_LEFT_OUT = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[\x20-\x7e\n\t]*")


def curl(call: CallCaptured, body: bytes | None) -> str:
    """A command for bash or zsh. body: the captured request body, None when its bytes are gone."""
    request = call.request
    headers = _headers(call)
    words = ["curl", *_method_words(request.method, bool(body)), _quoted(request.url)]
    if re.search(r"[\[\]{}]", request.url):
        words.append("--globoff")
    if re.search(r"/\.\.?(/|$)", request.url.partition("?")[0]):
        words.append("--path-as-is")
    for name, value in headers:
        # curl drops "Name:", and sends an empty header for "Name;".
        words.append(f"-H {_quoted(f'{name}: {value}' if value.strip() else f'{name};', 'latin-1')}")
    # What curl would add by itself.
    added = ["User-Agent", "Accept", *(["Content-Type"] if body else [])]
    words += [f"-H '{name}:'" for name in added if header(headers, name) is None]
    if header(headers, "accept-encoding") is not None:
        words.append("--compressed")
    before = ""
    if body:
        words.append("-H 'Expect:'")
        text = _shell_text(body)
        if text is not None and len(body) <= MAX_ARGUMENT_BYTES:
            words.append(f"--data-raw {text}")
        else:
            before = f"printf %s {_base64_lines(body)} | base64 --decode | "
            words.append("--data-binary @-")
    return (
        _notes(call, body, "#")
        + before
        + " \\\n  ".join([" ".join(words[: _head_words(words)]), *words[_head_words(words) :]])
        + "\n"
    )


def python(call: CallCaptured, body: bytes | None) -> str:
    """A program that needs `requests`. Repeated headers are joined with commas (RFC 9110 5.3), as requests
    takes one value a name."""
    request = call.request
    joined: dict[str, tuple[str, str]] = {}
    for name, value in _headers(call):
        shown, before = joined.get(name.lower(), (name, ""))
        separator = "; " if name.lower() == "cookie" else ", "
        joined[name.lower()] = (shown, f"{before}{separator}{value}" if name.lower() in joined else value)
    skipped = [name for name in ("User-Agent", "Accept-Encoding") if name.lower() not in joined]
    lines = [
        "import requests",
        *(["from urllib3.util import SKIP_HEADER"] if skipped else []),
        "",
        "headers = {",
    ]
    # requests sends text as latin-1 where it can: the bytes of the wire.
    lines += [f"    {_literal(name)}: {_literal(value)}," for name, value in joined.values()]
    lines += [f'    "{name}": SKIP_HEADER,  # else the client adds its own' for name in skipped]
    if "accept" not in joined:
        lines.append('    "Accept": None,  # else the client adds its own')
    lines += ["}", ""]
    arguments = [_literal(request.method), _literal(request.url), "headers=headers"]
    if body:
        lines += [f"body = {_python_bytes(body)}", ""]
        arguments.append("data=body")
    arguments += ["allow_redirects=False", "timeout=30"]
    lines += [
        f"response = requests.request({', '.join(arguments)})",
        "print(response.status_code, response.reason)",
    ]
    lines += ["print(response.text)"]
    return _notes(call, body, "#") + "\n".join(lines) + "\n"


def _headers(call: CallCaptured) -> Headers:
    named = {
        name.strip().lower()
        for header_name, value in call.request.headers
        if header_name.lower() == "connection"
        for name in value.split(",")
    }
    own = _authority(call.request.url)
    return tuple(
        (name, value)
        for name, value in as_kept(call.request.headers, call.request.body)
        if name.lower() not in _LEFT_OUT
        and name.lower() not in named
        and not (name.lower() == "host" and value.lower() in own)
    )


def _authority(url: str) -> frozenset[str]:
    """The Host values that say no more than the URL does."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    default = _DEFAULT_PORTS.get(parts.scheme)
    return frozenset((host, host.removesuffix(f":{default}"), f"{host}:{default}"))


def _method_words(method: str, has_body: bool) -> list[str]:
    if method == ("POST" if has_body else "GET"):
        return []
    if method == "HEAD" and not has_body:
        return ["--head"]
    return ["-X", _quoted(method)]


def _head_words(words: list[str]) -> int:
    """How many words stand on the first line: curl, the method and the URL."""
    return next(index for index, word in enumerate(words) if "://" in word) + 1


def _notes(call: CallCaptured, body: bytes | None, mark: str) -> str:
    of = call.request.body
    if of.truncated:
        return f"{mark} The captured body is cut: {of.captured_bytes} of {of.size_bytes} bytes.\n"
    if of.size_bytes and body is None:
        return f"{mark} The body ({of.size_bytes} bytes) is not at hand.\n"
    return ""


def _quoted(text: str, charset: str = "utf-8") -> str:
    """`text` as one word of bash or zsh that stands for its bytes in `charset`."""
    if _PLAIN.fullmatch(text):
        return shlex.quote(text)
    raw = text.encode(charset, "replace" if charset != "utf-8" else "surrogatepass")
    return f"$'{''.join(map(_ansi_c, raw))}'"


def _ansi_c(byte: int) -> str:
    character = chr(byte)
    if character in "\\'":
        return f"\\{character}"
    if 0x20 <= byte < 0x7F:
        return character
    # Three octal digits, always: a following digit cannot become part of it.
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\{byte:03o}")


def _shell_text(body: bytes) -> str | None:
    """`body` as one word; None when it is binary (a NUL cannot be an argument at all)."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text):
        return None
    # Quoted as it is, so that people can read it; a CR would get lost in pasting.
    return _quoted(text) if "\r" in text else shlex.quote(text)


def _base64_lines(body: bytes) -> str:
    encoded = b64encode(body).decode()
    lines = [encoded[at : at + _BASE64_LINE_CHARS] for at in range(0, len(encoded), _BASE64_LINE_CHARS)]
    return lines[0] if len(lines) == 1 else "'" + "\n".join(lines) + "'"


def _python_bytes(body: bytes) -> str:
    """A bytes literal; text over several lines as one literal a line."""
    pieces = body.splitlines(keepends=True)
    if len(pieces) <= 1 or len(pieces) > 1000:
        return repr(body)
    return "(\n" + "".join(f"    {piece!r}\n" for piece in pieces) + ")"


def _literal(text: str) -> str:
    """A Python string in double quotes, ASCII only."""
    body = ascii(text)[1:-1]
    if ascii(text)[0] == "'":
        body = body.replace("\\'", "'").replace('"', '\\"')
    return f'"{body}"'
