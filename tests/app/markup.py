"""Reading HTML: its texts and tags."""

from html.parser import HTMLParser


class Html(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict]] = []

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


def read(html: str) -> Html:
    parser = Html()
    parser.feed(html)
    return parser
