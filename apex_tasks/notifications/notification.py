"""One message for every channel, and how Slack, e-mail and a page of Airflow show it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from apex_tasks.settings import Severity

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

SUBJECT_CHARACTERS = 180
FACT_CHARACTERS = 1500


@dataclass(frozen=True)
class Notification:
    """One message, for every channel.

    Attributes
    ----------
    severity
        None for good news.
    headline
        The whole story in one line.
    facts
        Label and value, in reading order.
    remedy
        What to do first; empty when there is nothing to do.
    links
        Label and address; an address that is no URL is shown as it is.
    """

    severity: Severity | None
    headline: str
    facts: tuple[tuple[str, str], ...]
    remedy: str
    links: tuple[tuple[str, str], ...]

    @property
    def subject(self) -> str:
        """One line for the e-mail's header."""
        label = "[APEX]" if self.severity is None else f"[APEX {self.severity}]"
        return _shortened(" ".join(f"{label} {self.headline}".split()), SUBJECT_CHARACTERS)

    @property
    def slack(self) -> str:
        """Text with Slack's own marks."""
        return self._render("slack.txt.j2").removesuffix("\n")

    @property
    def html(self) -> str:
        """Body of the e-mail."""
        return self._render("email.html.j2")

    @property
    def markdown(self) -> str:
        """Text for a page of Airflow; text from data is shown as it is and marks nothing up."""
        return self._render("markdown.txt.j2")

    def _render(self, template: str) -> str:
        return (
            _environment()
            .get_template(template)
            .render(subject=self.subject, facts=self.facts, remedy=self.remedy, links=self.links)
        )


@cache
def _environment() -> Environment:
    # Here, not above: whoever only parses DAG files never renders a message.
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("apex_tasks.notifications"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "slack": _slack,
        "markdown": _markdown,
        "html": _html,
        "html_lines": _html_lines,
    }
    environment.tests["url"] = _is_url
    return environment


def _is_url(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _slack(text: str) -> str:
    text = _shortened(text, FACT_CHARACTERS)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _markdown(text: str) -> str:
    # Any ASCII punctuation may be escaped in Markdown; on one line nothing can begin a heading, list or block.
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(_shortened(text, FACT_CHARACTERS).split()))


def _html(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(html.escape(text))  # noqa: S704 - escaped


def _html_lines(text: str) -> Markup:
    from markupsafe import Markup

    return _html(_shortened(text, FACT_CHARACTERS)).replace("\n", Markup("<br>"))


def _shortened(text: str, characters: int) -> str:
    """Cut an overlong text, and say so."""
    rest = len(text) - characters
    return text if rest <= 0 else f"{text[:characters]}… ({rest} more characters in the log)"
