"""Whether what a document's metadata calls its title is one: programs fill it in with file names and their own."""

import re
import unicodedata

LONGEST = 1000
"""Characters; what is longer is a text that went astray."""
PROGRAM = re.compile(
    r"(?:Microsoft )?(?:Office )?(?:Word|PowerPoint|Excel|Publisher|Visio|Outlook|OneNote|WordPad|Notepad)"
    r"(?: Document| Presentation)?(?: - .*)?",
    re.IGNORECASE,
)
PLACEHOLDERS = re.compile(
    # Names that programs give to what has none yet, some with a number.
    r"(?:(?:untitled|unbenannt|unnamed|noname|sans titre|sans nom|ohne titel|sin t[ií]tulo|senza titolo|sem t[ií]tulo"
    r"|без названия|无标题|無題|documento sin t[ií]tulo"
    r"|new|blank|default|document(?:o|u)?|dokument|документ|doc|file|page|book|mappe|classeur|libro|sheet|tabelle|feuil"
    r"|workbook|worksheet|binder|presentation|pr[äa]sentation|pr[ée]sentation|presentaci[óo]n|slide|folie|diapositive"
    r"|scan(?:ned)?|image|img|picture|print|printout|layout|model|drawing|publication|template|normal|title"
    r"|titel|titre|t[ií]tulo|subject|home|index|test|temp|tmp|draft|final|copy|unknown|none|null|nil|undefined|n/?a"
    r"|anonymous|no title|title here|type (?:the )?(?:document )?title(?: here)?|powerpoint)"
    r"[\s_\-]*(?:document|page|presentation|file|image|form|copy)?[\s_\-.#(]*\d*\)?"
    r"|powerpoint[- ]?pr[äa]sentation|pr[ée]sentation powerpoint|presentaci[óo]n de powerpoint"
    r"|presentazione (?:standard di )?powerpoint|apresenta[çc][ãa]o do powerpoint|презентация powerpoint)",
    re.IGNORECASE,
)
FILE_NAME = re.compile(
    # Endings that no title has; then those that a title may have, if it is more than one word.
    r"(?:.*\.(?:docx?|docm|dotx?|xlsx?|xlsm|pptx?|ppsx?|pdf|indd|indb|qxd|qxp|fm|p65|pmd|pub|dvi|eps|ps|rtf|odt|ods|odp"
    r"|wpd|wps|cdr|ai|psd|dwg|dgn|vsdx?|tiff?|jpe?g|png|gif|bmp|tmp)"
    r"|\S+\.(?:txt|md|html?|xhtml|xml|json|csv|tex|exe|log|eml|msg|zip|epub|svg|aspx?|php|jsp|pages|numbers|key))"
    r"[\s\"')]*",
    re.IGNORECASE,
)
PLACE = re.compile(r"(?:[a-z]:[\\/]|file:|https?://|about:|\\\\|/\w+/)\S*|.*\\[^\\]+\\.*", re.IGNORECASE)
ONE_NAME = re.compile(
    # No blank in it, but what stands for one in names of files; or a long number.
    r"[^\s_]*_\S*|(?=\S*\d)[^\s\-.]+(?:[\-.][^\s\-.]+){2,}|[0-9a-f\-{}]{16,}",
    re.IGNORECASE,
)
TEMPLATE = re.compile(r".*(?:\{\{|\}\}|<%|%>|\$\{)|(?:þÿ|ÿþ).*")
NONE = (PROGRAM, PLACEHOLDERS, FILE_NAME, PLACE, ONE_NAME, TEMPLATE)


def checked(title: str | None) -> str | None:
    """A title as one line, or None if it is no title: a file's name, a program's placeholder, a number, or characters
    without meaning."""
    line = " ".join((title or "").replace("\0", " ").split())
    if not line or len(line) > LONGEST or any(pattern.fullmatch(line) for pattern in NONE):
        return None
    if not any(character.isalpha() for character in line) or any(map(_is_meaningless, line)):
        return None
    return line


def _is_meaningless(character: str) -> bool:
    """Control characters, private use, surrogates, unassigned, and the replacement character."""
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Co", "Cs", "Cn")
