"""A report as one HTML file: style, script and pictures are in it, and no host is asked."""

from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined

from ganray import __version__
from ganray.errors import ReportError
from ganray.manifest import speakable
from ganray.report.encoding import FEWER_PICTURES

MAX_BYTES = 15 << 20
"""Of a whole page: it is opened by browsers, and sent by mail."""
CONTENT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


class Part(Protocol):
    """What a section is made of: a value, and the template that shows it as `part`."""

    template: ClassVar[str]


@dataclass(frozen=True)
class Figure:
    """One number that stands large at the top, such as "1,204" "restored"."""

    value: str
    label: str


@dataclass(frozen=True)
class Section:
    """A heading, a sentence or two of what is to be seen, and the parts."""

    title: str
    parts: tuple[Part, ...]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    """A report. `kind` stands above the title, `verdict` in a line of its own below it."""

    kind: str
    title: str
    subtitle: str = ""
    verdict: str = ""
    figures: tuple[Figure, ...] = ()
    sections: tuple[Section, ...] = field(default=(), repr=False)


def render_page(page: Page) -> str:
    """The page as HTML. Raises ReportError beyond MAX_BYTES; nothing of it is escaped twice.

    What is not UTF-8 in it, as in a file's name, is escaped.
    """
    html = speakable(
        _environment()
        .get_template("page.html")
        .render(page=page, content_policy=CONTENT_POLICY, version=__version__)
    )
    num_bytes = len(html.encode())
    if num_bytes > MAX_BYTES:
        raise ReportError(
            f"the report would have {num_bytes} bytes, and {MAX_BYTES} are allowed; "
            f"{FEWER_PICTURES}"
        )
    return html


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ganray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
