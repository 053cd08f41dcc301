"""The service's documentation page, made from its OpenAPI description, with a form to try it."""

from html import escape
from typing import Any

from fastapi.responses import HTMLResponse

from colorjax.coloring.page.guard import CONTENT_SECURITY_POLICY

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>colorjax</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em }}
  td, th {{ text-align: left; vertical-align: top; padding: 0.2em 1em 0.2em 0 }}
  pre {{ background: #eee; color: #222; padding: 0.5em; overflow: auto }}
</style>
<h1>colorjax {version}</h1>
<p>{summary} The full description is <a href="openapi.json">openapi.json</a>.</p>
<form action="colorize" method="post" enctype="multipart/form-data">
  <label>A photo: <input type="file" name="photo" required></label>
  <button>Colour it</button>
</form>
<h2>From programs</h2>
<pre>curl --data-binary @photo.jpg -o coloured.jpg 'http://HOST/colorize?saturation=1.2'</pre>
{paths}
"""


def page(description: dict[str, Any]) -> HTMLResponse:
    """Renders an OpenAPI description as a page that loads nothing from elsewhere."""
    paths = "".join(
        _operation(f"{method.upper()} {path}", operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    )
    info = {name: escape(description["info"][name]) for name in ("version", "summary")}
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
    return HTMLResponse(_PAGE.format(paths=paths, **info), headers=headers)


def _operation(name: str, operation: dict[str, Any]) -> str:
    rows = [
        (one["name"], _kind(one["schema"]), one["schema"].get("description", ""))
        for one in operation.get("parameters", ())
    ]
    statuses = [
        (status, "", answer["description"]) for status, answer in operation["responses"].items()
    ]
    tables = "".join(_table(*one) for one in (("Option", rows), ("Status", statuses)) if one[1])
    return f"<h2>{escape(name)}</h2><p>{escape(operation['description'])}</p>{tables}"


def _table(head: str, rows: list[tuple[str, str, str]]) -> str:
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr><th>{head}</th></tr><tr>{'</tr><tr>'.join(lines)}</tr></table>"


def _kind(schema: dict[str, Any]) -> str:
    """Returns the type of an option, and its default."""
    variants = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    kinds = [", ".join(one["enum"]) if "enum" in one else one.get("type", "") for one in variants]
    default = schema.get("default")
    shown = f" ({default})" if default not in (None, "", []) else ""
    return " or ".join(kinds) + shown
