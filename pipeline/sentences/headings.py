"""What the heading of a section tells about it: that it sums up, introduces, concludes, or is not to be quoted."""

import re
from enum import IntEnum


class Role(IntEnum):
    """Of a section in its document."""

    BODY = 0
    SUMMARY = 1
    OPENING = 2
    CONCLUSION = 3
    METHOD = 4
    RESULT = 5
    APPARATUS = 6
    """References, thanks, licences, contents: no key sentence is taken from these."""


ROLES = (
    (
        Role.APPARATUS,
        r"references?|bibliography|works cited|literature cited|further reading|sources|footnotes?|endnotes?|see also"
        r"|acknowled?ge?ments?|copyright|licen[cs]e|legal notice|disclaimer|(?:table of )?contents|index|external links"
        r"|citations?|related (?:content|articles|topics)|next steps|change ?log|revision history|document history"
        r"|author contributions|funding|competing interests|conflicts? of interest|supporting information"
        r"|supplementary .{0,40}|key terms|glossary|credits|post-history|review questions|.{0,30}exercises"
        r"|learning objectives|about the authors?",
    ),
    (
        Role.SUMMARY,
        r"abstract|(?:executive |plain[- ]language |author |chapter |section )?summary|synopsis|simple summary|tl;?dr"
        r"|highlights|key (?:points?|findings|messages|takeaways|concepts|facts)|at a glance|in brief"
        r"|what .{0,30} found|summary (?:of|and) .{0,60}",
    ),
    (
        Role.OPENING,
        r"introduction|overview|background|motivation|purpose|preface|foreword|scope|rationale|problem|context"
        r"|about.{0,60}|goals.{0,20}",
    ),
    (
        Role.CONCLUSION,
        r"conclusions?(?: and .{0,40})?|conclusions? .{0,40}|concluding remarks|discussion|final remarks"
        r"|closing.{0,20}|recommendations?",
    ),
    (Role.METHOD, r"(?:materials? and )?methods?|methodology|experimental.{0,30}|implementation.{0,30}|test.{0,30}"),
    (Role.RESULT, r"results?(?: and .{0,40})?|findings|evaluation|specification|proposal|design|decision"),
)
NUMBER = r"(?:(?:chapter|section|appendix)?\s?[\divxlc]{1,5}(?:\.\d{1,2}){0,3}[.:)]?\s+)?"
PATTERNS = tuple((role, re.compile(rf"\W*{NUMBER}(?:{pattern})\W*$", re.IGNORECASE)) for role, pattern in ROLES)


def role_of(heading: str) -> Role:
    """Of a section by its heading."""
    if len(heading) > 100:
        return Role.BODY
    return next((role for role, pattern in PATTERNS if pattern.match(heading)), Role.BODY)
