"""The HTML page: one file that needs no network, with its figures inside. Everything from outside is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tuner.report.plain import plain_page
from tuner.report.section import Section
from tuner.report.wording import number

TEMPLATES = Path(__file__).parent / "templates"
CSS_PIXELS = 960
"""Width of a figure on a wide page."""


def render_page(
    title: str, sections: tuple[Section, ...], *, pictures: Mapping[str, bytes], status: str, footer: str
) -> str:
    """The whole page; `pictures` holds the PNG of each drawing by its name."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"cell": cell, "anchor": anchor}
    environment.tests |= {"number_cell": is_number, "time_cell": is_time}
    images = {name: _image(data) for name, data in pictures.items()}
    template = environment.get_template("report.html.jinja")
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    shown = {"title": title, "sections": sections, "images": images, "status": status, "footer": footer}
    page = template.render(**shown, style=style, style_hash=_hash(style))
    return plain_page(page)


def cell(value: Any) -> str:
    """One table cell as text: five significant digits, thousands separated, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


def is_number(value: Any) -> bool:
    """Whether a cell is aligned as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_time(value: Any) -> bool:
    """Whether a cell is a date with a time, which must not break into two lines."""
    return isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", value) is not None


def anchor(title: str) -> str:
    """A title as a fragment that a link can name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _hash(style: str) -> str:
    """What the content security policy names the page's own style by; no other applies."""
    return base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")


def _image(data: bytes) -> dict[str, str]:
    width, height = struct.unpack(">II", data[16:24])
    return {
        "uri": "data:image/png;base64," + base64.b64encode(data).decode("ascii"),
        "width": str(CSS_PIXELS),
        "height": str(round(CSS_PIXELS * height / width)),
    }
