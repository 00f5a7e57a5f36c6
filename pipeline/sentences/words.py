"""The words of sentences: how they are found and stemmed, and what each says about the sentence that it stands in."""

import re
from collections.abc import Iterable

CJK = "぀-ヿ㐀-鿿豈-﫿"
WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+|\n")
"""Letters and digits; a character of Chinese or Japanese is a word; the end of a line is one too."""

STOP_WORDS = frozenset(
    """a about above across after again against all almost alone along already also although always am among an and
    another any anybody anyone anything anywhere are around as at away b back be became because become becomes been before
    behind being below between both but by c call can cannot cant could d de did didn do does doesn doing don done down
    during e each eg either else elsewhere enough etc even ever every everyone everything everywhere except few for former
    found from further g get go had hadn has hasn have haven he hence her here hers herself him himself his how however i
    ie if in inc indeed instead into is isn it its itself just k keep last latter least less let like ll ltd made many may
    maybe me meanwhile might mine more moreover most mostly much must my myself name namely neither never nevertheless next
    no nobody none nor not nothing now nowhere o of off often oh on once one only onto or other others otherwise our ours
    ourselves out over own part per perhaps please put quite rather re s same say see seem seemed seems several she should
    shouldn show side since so some somehow someone something sometime sometimes somewhere still such t take than that the
    their theirs them themselves then thence there thereby therefore these they this those though through throughout thru
    thus to together too toward towards u under until up upon us ve very via was wasn we well were weren what whatever when
    whenever where whereas whether which while who whoever whole whom whose why will with within without won would wouldn
    x y yeah yes yet you your yours yourself yourselves z uh um uhm mm hmm mmhmm okay ok er huh ah""".split()
)

MEANINGS = {
    "third_person": "he she him her his",
    "first_person": "i my me mine myself",
    "first_plural": "we our us ours",
    "second_person": "you your yours",
    "they": "they their them theirs",
    "it": "it its",
    "article": "the a an",
    "aim": "overall goal goals purpose aim aims aimed main key summary conclusion brief objective general",
    "finding": "show shows showed shown find finds found propose present presents report reports demonstrate demonstrates"
    " demonstrated identify identified conclude suggest suggests develop developed results findings study analysis",
    "proposal": "proposes proposed proposal introduces introduce introduced specifies specify specification provides"
    " provide allows allow enables enable defines define describes describe standard feature document",
    "definition": "called known refers means defined term terms definition",
    "result": "result significant significantly associated increase increased increases decrease decreased compared effect"
    " effects higher lower",
    "talk": "discuss discussed discussing decide decided decision agree agreed suggest suggested meeting project plan"
    " question problem issue think should",
    "reference": "example instance eg note see figure table fig section chapter below following",
    "reason": "motivation because since therefore order need needs problem currently today",
    "duty": "must shall should may required",
    "said": "said asked replied cried answered thought says shouted whispered",
    "legal": "copyright licence license licensed gutenberg transcriber http https www isbn doi rights reserved proofreading",
    "lesson": "learning objectives objective exercise exercises check",
    "filler": "uh um uhm mm hmm mmhmm yeah okay ok oh er huh ah yep alright disfmarker vocalsound",
    "question": "who what when where why how",
    "negation": "not no never nor neither cannot don didn doesn isn wasn",
    "pair": "is are was were",
    "research": "show find found propose present describe report demonstrate conclude suggest developed used investigate",
    "work": "paper study article work report document proposal pep eip rfc specification chapter book meeting",
    "leans": "he she it they him her his their its this these those that such here there",
    "joins": "and but so or nor however therefore thus also then moreover furthermore instead hence additionally similarly"
    " otherwise likewise consequently finally second third yet still meanwhile nevertheless nonetheless besides accordingly",
}
"""What a word may say, and the words that say it."""
ENDINGS = {"past": "ed", "going": "ing", "manner": "ly", "abstract": "ion"}
SHAPES = ("number", "capital", "capitals")
FLAGS = (*MEANINGS, *ENDINGS, *SHAPES)

_MEANT = {word: [] for words in MEANINGS.values() for word in words.split()}  # type: dict[str, list[int]]
for _place, _words in enumerate(MEANINGS.values()):
    for _word in _words.split():
        _MEANT[_word].append(_place)


def stem(word: str) -> str:
    """Of a word in lower case: without the endings of English that change no meaning."""
    if len(word) <= 3 or not word.isascii():
        return word
    if word[-1] == "s" and word[-2] not in "su":
        word = word[:-2] if word.endswith(("sses", "ies", "xes", "ches", "shes")) else word[:-1]
    for ending in ("ingly", "edly", "ing", "ed", "ly"):
        kept = word[: -len(ending)]
        if word.endswith(ending) and len(kept) >= 3 and any(map("aeiouy".__contains__, kept)):
            word = kept[:-1] if len(kept) > 3 and kept[-1] == kept[-2] and kept[-1] not in "lsz" else kept
            break
    if word[-1] in "ey" and len(word) > 3:
        word = word[:-1]
    return word[:-1] if word[-1] == "i" and len(word) > 3 else word


def flags(word: str) -> Iterable[int]:
    """Places in FLAGS that are true of a word as it is written."""
    lower = word.lower()
    yield from _MEANT.get(lower, ())
    yield from (len(MEANINGS) + at for at, ending in enumerate(ENDINGS.values()) if lower.endswith(ending))
    first = len(MEANINGS) + len(ENDINGS)
    if word[0].isdigit():
        yield first
    if word[0].isupper():
        yield first + 1
        if len(word) > 1 and word.isupper():
            yield first + 2


def is_content(word: str) -> bool:
    """Whether a word in lower case is about something."""
    return word not in STOP_WORDS


def tokens(text: str) -> list[str]:
    """The words of a text as they are written."""
    return WORD.findall(text)


def stems(text: str) -> list[str]:
    """Of the content words of a text."""
    return [stem(word) for word in tokens(text.lower()) if word != "\n" and is_content(word)]
