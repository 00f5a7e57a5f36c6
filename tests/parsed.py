"""HTML as a test looks at it."""

from html.parser import HTMLParser


class Parsed(HTMLParser):
    """Tags with their attributes, and the text without style and script."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self._open = [], "", None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        self.text += "" if self._open in ("style", "script") else data
