"""What readers of a message see."""

from __future__ import annotations

import html
from html.parser import HTMLParser

from apex_tasks.notifications.notification import Notification


class VisibleText(HTMLParser):
    """The visible text of an e-mail and the addresses it links to."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.addresses, self.tags = "", [], set()
        self.feed(source)

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name == "href"]


def shown_by_both(notification: Notification) -> tuple[str, str]:
    """What a reader of each channel sees."""
    return VisibleText(notification.html).text, html.unescape(notification.slack)
