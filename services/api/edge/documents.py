"""What tells about the API: the OpenAPI document and the page that shows it. Both need no token and hold no
secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

import msgspec
from aiohttp import web

from services.api.domain.conditions import tag_of
from services.api.edge.gate import Gate
from services.api.edge.replying import tagged

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1f24; background: #fff }
h1 { font-size: 1.8rem }
h2 { margin-top: 3rem; border-bottom: 1px solid #d0d7de }
h3 { margin: 2rem 0 .3rem; font-size: 1rem }
h3 code { font-size: 1rem }
h4 { margin: 1rem 0 0 }
nav ul { columns: 18rem; column-gap: 2rem; margin: .3rem 0; padding-left: 1.2rem }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { background: #f6f8fa; padding: .8rem; overflow: auto; border-radius: 6px }
table { border-collapse: collapse; width: 100% }
td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #eaeef2 }
td:nth-child(-n+3) { white-space: nowrap }
td:nth-child(4) { width: 100% }
.q { color: #57606a }
.m { display: inline-block; min-width: 4rem; padding: 0 .4rem; margin-right: .5rem; border-radius: 4px;
     text-align: center; color: #fff; background: #1f6feb }
.DELETE { background: #cf222e }
.PUT, .PATCH { background: #9a6700 }
.POST { background: #1a7f37 }
@media (max-width: 40rem) {
  td:nth-child(-n+3) { white-space: normal }
}
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3 }
  pre { background: #161b22 }
  h2, td { border-color: #30363d }
  a { color: #58a6ff }
  .q { color: #8b949e }
}
"""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class Documents:
    """Rendered once; they do not change while the service runs."""

    def __init__(self, openapi: Mapping[str, Any], gate: Gate) -> None:
        self._gate = gate
        self._json = msgspec.json.encode(openapi)
        self._tag = tag_of(None, self._json)
        self._page = page(openapi)

    async def openapi(self, request: web.Request) -> web.Response:
        await self._gate.caller(request, "public")
        answer = tagged(request, self._tag, self._json)
        answer.headers["Cache-Control"] = "public, max-age=60"
        answer.headers["Access-Control-Allow-Origin"] = "*"
        del answer.headers["Vary"]
        return answer

    async def docs(self, request: web.Request) -> web.Response:
        await self._gate.caller(request, "public")
        return web.Response(
            text=self._page, content_type="text/html", headers={"Content-Security-Policy": _POLICY}
        )


def page(openapi: Mapping[str, Any]) -> str:
    """The document as one page of HTML that loads nothing from anywhere."""
    info = openapi["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} API <span class=q>{escape(info['version'])}</span></h1>",
        f"<p>{escape(info['summary'])} The same as a document for programs: ",
        "<a href='/v1/openapi.json'>/v1/openapi.json</a>.",
        "<p>Send a token with each request:",
        "<pre>curl -H 'Authorization: Bearer tl_…' …/v1/buckets</pre>",
        "<p>A list answers its page and a <code>next_cursor</code>; pass that as <code>cursor</code>",
        "to go on. Errors are problem details (RFC 9457): <code>type</code> names the error,",
        "<code>field</code> what is at fault, <code>remedy</code> what to do.",
    ]
    by_tag = {tag["name"]: _routes(openapi, tag["name"]) for tag in openapi["tags"]}
    parts.append("<nav>")
    for tag, routes in by_tag.items():
        links = (
            f"<li><a href='#{escape(route['operationId'])}'>{escape(route['summary'])}</a>"
            for _, _, route in routes
        )
        parts += [f"<h4>{_shown(tag)}</h4><ul>", *links, "</ul>"]
    parts.append("</nav>")
    for tag, routes in by_tag.items():
        parts.append(f"<h2>{_shown(tag)}</h2>")
        for path, method, route in routes:
            parts += _route(path, method, route)
    parts.append("<h2 id=schemas>Schemas</h2>")
    for name, schema in sorted(openapi["components"]["schemas"].items()):
        shown = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
        parts.append(
            f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>"
            f"<pre>{escape(shown)}</pre></details>"
        )
    return "\n".join(parts)


def _routes(openapi: Mapping[str, Any], tag: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Path, method and the route itself of each route with this tag."""
    return [
        (path, method.upper(), route)
        for path, methods in openapi["paths"].items()
        for method, route in methods.items()
        if tag in route["tags"]
    ]


def _shown(tag: str) -> str:
    return escape(tag.replace("_", " "))


def _route(path: str, method: str, route: Mapping[str, Any]) -> list[str]:
    shown = f"<span class='m {method}'>{method}</span>{escape(path)}"
    parts = [
        f"<h3 id='{escape(route['operationId'])}'><code>{shown}</code></h3>",
        f"<p>{escape(route['summary'])}.",
        *(f"<p class=q>{_prose(text)}" for text in _beyond(route["summary"], route["description"])),
    ]
    rows = [
        (
            parameter["name"],
            parameter["in"],
            parameter["required"],
            parameter["schema"],
            parameter.get("description", ""),
        )
        for parameter in route["parameters"]
    ]
    body = route.get("requestBody")
    if body is not None:
        form = body["content"]["application/json"]["schema"]
        rows += [
            (name, "body", name in form["required"], schema, schema.get("description", ""))
            for name, schema in form["properties"].items()
        ]
    if rows:
        parts.append("<table>")
        for name, where, required, schema, said in rows:
            cells = (f"<code>{escape(name)}</code>", where, _kind(schema), _about(required, schema, said))
            parts.append("<tr>" + "".join(f"<td>{cell}" for cell in cells))
        parts.append("</table>")
    for media, content in route["responses"]["200"]["content"].items():
        parts.append(f"<p>Answers <code>{escape(media)}</code>: {_kind(content['schema'])}")
    return parts


def _beyond(summary: str, description: str) -> list[str]:
    """The description's paragraphs, without a first sentence that says the summary again."""
    again = f"{summary}."
    paragraphs = (text.removeprefix(again).strip() for text in description.split("\n\n"))
    return [text for text in paragraphs if text]


def _prose(text: str) -> str:
    """Plain text with `code` in it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _about(required: bool, schema: Mapping[str, Any], said: str) -> str:
    """What is said of a parameter, and whether it may be left out."""
    if required:
        said = f"{said} Required."
    elif schema.get("default", "") != "":
        said = f"{said} `{schema['default']}` unless given."
    said = said.strip()
    return _prose(said[:1].upper() + said[1:])


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            kinds = [_kind(one) for one in schema[choice] if one != {"type": "null"}]
            return " or ".join(kinds)
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    kind = escape(str(schema.get("format") or schema.get("type") or "any"))
    return f"list of {_kind(schema['items'])}" if kind == "array" and schema.get("items") else kind
