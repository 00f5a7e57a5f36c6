"""The elements of HTML, by what browsers do with them. All that are not named here are inline."""

UNSEEN = {
    *("script", "style", "noscript", "template", "svg", "iframe", "object", "canvas", "audio", "video", "datalist"),
    *("title", "ix:header", "ix:hidden", "map", "colgroup", "meter", "progress", "noembed"),
}
BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl"),
    *("dt", "fieldset", "figcaption", "figure", "footer", "form", "frameset", "header", "hgroup", "hr", "html"),
    *("legend", "main", "noframes", "p", "plaintext", "search", "section", "summary", "tbody", "tfoot"),
    *("thead", "optgroup"),
}
INLINE = {
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img"),
    *("ins", "kbd", "label", "mark", "nobr", "output", "rp", "rt", "ruby", "s", "samp", "slot", "small", "span"),
    *("strike", "strong", "time", "tt", "u", "var", "wbr"),
}
HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
"""Written as in Markdown, so that the model and those who look for sections recognize them."""
LISTS = {"ol", "ul", "menu", "dir"}
CELLS = ("td", "th")
FIELDS = {"input", "select", "textarea"}
CODE = {"pre", "listing", "xmp"}
HOLDERS = BLOCKS | set(HEADINGS) | LISTS | CODE | {"table", "tr", "li", "dialog", "nav"}
"""Elements that break the line within unknown ones."""
