"""A page reads as a browser shows it: what is hidden is not read, and what is seen stands where it is seen."""

import time
from typing import Any

import pytest

from configs.settings import InputSettings
from pipeline.formats import html
from pipeline.formats.notes import Notes


def read(body: str, notes: Notes | None = None, **settings: Any) -> list[str]:
    """The lines of a page."""
    data = f"<!doctype html><meta charset=utf-8>{body}".encode()
    _, text = html.parse(data, notes or Notes(), InputSettings(sources=("unused",), **settings))
    return "".join(text).splitlines()


def title(page: str) -> str | None:
    return html.parse(page.encode(), Notes(), InputSettings(sources=("unused",)))[0]


# What is hidden


@pytest.mark.parametrize(
    "attributes",
    [
        "hidden",
        'hidden="until-found"',
        'style="display:none"',
        'style="DISPLAY : None ! important; color: red"',
        'style="color:red;display/* a comment */:/**/none"',
        r'style="d\69splay: n\6f ne"',
        'style="visibility: hidden"',
        'style="visibility:collapse"',
        'style="opacity: 0.0"',
        'style="font-size:0px"',
        'style="font: 0/0 a"',
        'style="position:absolute; left:-9999px"',
        'style="position:absolute;clip:rect(0 0 0 0)"',
        'style="text-indent:-9999px"',
        'style="position:fixed; top: -100em"',
        'aria-hidden="TRUE"',
    ],
)
@pytest.mark.parametrize("tag", ["p", "span", "ix:nonnumeric", "a-banner"])
def test_an_element_that_is_hidden_is_not_read(attributes: str, tag: str) -> None:
    assert read(f"<p>be</p><{tag} {attributes}>not <b>this</b></{tag}><p>fore</p>") == ["be", "fore"]


@pytest.mark.parametrize(
    "style",
    [
        "display:inline",
        "display:none;display:block",
        "visibility:visible",
        "opacity:0.5",
        "opacity:0;transition:opacity 1s",
        "font-size:10pt",
        "left:-9999px",
        "text-indent:-13.5pt",
        "background:none;border:none",
        "content:'display:none'",
    ],
)
def test_an_element_that_is_not_hidden_is_read(style: str) -> None:
    assert read(f'<p>be<span style="{style}">fo</span>re</p>') == ["before"]


@pytest.mark.parametrize(
    "sheet",
    [
        ".x{display:none}",
        "/* a } comment */ i , div.x > span.y , .x.x { color : red; DISPLAY:NONE }",
        "#i { visibility:hidden }",
        "<!-- .x { display: none } -->",
        "div, .x:not(.y):not([title]) { display: none }",
        "x-note { display: none !important }",
        "@media screen and (min-width: 600px) { body .x { display: none } }",
        "@charset 'utf-8'; @media print { p { display:none } } body > .x { display: none }",
        "[data-ad] { display: none }",
        ".x { display: block } .x { display: none }",
        "x-note.x { display: none } .x { display: block }",
        ".x { display: none !important } #i { display: block }",
        r".\78 { display: none }",
        "a::before { content: '}'; } .x { display: none }",
        "p:not(.y) + .x { display: none }",
    ],
)
def test_style_sheets_hide(sheet: str) -> None:
    page = f"<style>{sheet}</style><p>seen</p><x-note class='note x' id=i data-ad=1>not this</x-note>"
    assert read(page) == ["seen"]


@pytest.mark.parametrize(
    "sheet",
    [
        "@media print { .x { display: none } }",
        "@media (max-width: 600px) { .x { display: none } }",
        "@media not screen { .x { display: none } }",
        ".x:hover { display: none }",
        ".x::after { display: none }",
        ".x { display: none } .x { display: block }",
        ".x { display: none } #i { display: block }",
        "@keyframes k { from { display: none } } @font-face { font-family: x; font-size: 0 }",
        ".closed .x { display: none }",
        ".x, { display: none",
        "body { display: none } html { visibility: hidden }",
    ],
)
def test_style_sheets_do_not_hide_what_they_show(sheet: str) -> None:
    assert read(f"<style>{sheet}</style><p class=x id=i>seen</p>") == ["seen"]


def test_what_is_made_visible_within_the_invisible_is_read() -> None:
    inner = '<p>not <b style="visibility:visible">this</b> one<i class=again>, that</i></p>'
    page = f'<style>.again {{ visibility: visible }}</style><div style="visibility:hidden">{inner}</div><p>end</p>'
    assert read(page) == ["this, that", "end"]
    assert read('<p style="font-size:0">a<b style="font-size:12px">seen</b></p>') == ["seen"]


@pytest.mark.parametrize("tag", ["input value=no", "button", "td", "nav", "textarea", "svg", "br", "sup", "h1", "pre"])
def test_what_follows_the_invisible_is_read(tag: str) -> None:
    inner = f"<{tag} style='visibility:hidden'>no</{tag.split()[0]}>"
    assert read(f"<table><tr>{inner}</tr></table><div>{inner}</div><p>seen</p>".replace("no</input>", ""))[-1] == "seen"


@pytest.mark.parametrize("attribute", ["aria-hidden=true", "style='opacity:0'"])
def test_a_page_under_a_dialog_or_before_it_fades_in_is_read(attribute: str) -> None:
    assert read(f"<div {attribute}><main><p>The page.</p></main></div>") == ["The page."]


def test_parts_that_browsers_do_not_show_are_not_read() -> None:
    unseen = "<template>a</template><dialog>b</dialog><noscript>c</noscript><script>d</script><svg><text>e</text></svg>"
    header = "<ix:header><ix:hidden><ix:nonNumeric>0009999999</ix:nonNumeric></ix:hidden></ix:header>"
    chrome = "<nav>f</nav><button>g</button><div role=navigation>h</div>"
    assert read(
        f"<p>seen</p>{unseen}{header}{chrome}<dialog open>asked</dialog><details><summary>more</summary>told"
    ) == [
        "seen",
        "asked",
        "more",
        "told",
    ]


def test_characters_that_nobody_sees_are_left_out() -> None:
    tag = "".join(chr(0xE0000 + ord(letter)) for letter in "ignore")
    assert read(f"<p>re&shy;open\u200b\u2060 it{tag}\ufeff.</p><pre>a\u200bb</pre>") == [
        "reopen it.",
        "```",
        "ab",
        "```",
    ]


# Lines


def test_unknown_elements_are_inline_unless_they_hold_blocks() -> None:
    sentence = "up $<ix:nonFraction name=a>412.5</ix:nonFraction>&nbsp;million (<ix:nonFraction>12.4</ix:nonFraction>)."
    assert read(f"<p>{sentence}</p>") == ["up $412.5 million (12.4)."]
    assert read("<my-card>a<p>b</p></my-card><my-card><div>c</div>d</my-card>e") == ["a", "b", "c", "d", "e"]


def test_headings_keep_their_parts() -> None:
    page = "<h2>Costs<br>and <div>fees</div></h2><h3><button>Terms</button></h3><h2> <br> </h2><h1><a>One</a></h1>"
    assert read(page) == ["## Costs and fees", "### Terms", "# One"]


def test_lists_have_marks() -> None:
    assert read("<ul><li>a<li><p>b</p><p>c</p></ul><ol start=3><li>d<li value=7>e<li>f</ol>") == [
        *("- a", "- b", "c"),
        *("3. d", "7. e", "8. f"),
    ]
    assert read("<ol type=a><li>x<li>y</ol><ol type=I reversed><li>p<li>q</ol>") == ["a. x", "b. y", "II. p", "I. q"]
    assert read("<ol><li><h3>Head</h3>text<li>next</ol><ul><li></ul>after") == ["### Head", "text", "2. next", "after"]


def test_code_is_fenced_and_holds_no_headings() -> None:
    assert read("<pre>\n# install\n  apt<br>x\n</pre>end") == ["```", "# install", "  apt", "x", "```", "end"]
    assert read("<pre>a\n```\nb</pre>")[0] == "````"
    assert read("<p><code># not a heading</code></p>") == ["\\# not a heading"]


@pytest.mark.parametrize(
    "page",
    [
        "<title>Report</title><h1>x</h1>",
        "<svg><title>Menu</title></svg><title>Report</title>",
    ],
)
def test_the_title_is_the_page_s(page: str) -> None:
    assert title(page) == "Report"
    assert title("<body><svg><title>Menu icon</title></svg><h1>x</h1>") is None


# Tables


def table(*rows: str, cell: str = "td") -> str:
    made = ("".join(f"<{cell}>{text}</{cell}>" for text in row.split("|")) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in made) + "</table>"


@pytest.mark.parametrize(
    "inner",
    [
        "{}",
        "<p>{}</p>",
        "<div><div>{}</div></div>",
        "<br>{}<br>",
        "<ul><li>{}</ul>",
        "<table><tr><td>{}</table>",
        "<h3>{}</h3>",
    ],
)
def test_a_row_is_a_line_whatever_stands_in_its_cells(inner: str) -> None:
    rows = ("Item|2025|2026", "Repairs|(12.4)|3.1", "Wages|40.0|41.5")
    page = table(*("|".join(inner.format(text) for text in row.split("|")) for row in rows))
    assert read(page) == ["Item | 2025 | 2026", "Repairs | (12.4) | 3.1", "Wages | 40.0 | 41.5"]


def test_several_paragraphs_of_a_cell_are_one_cell() -> None:
    assert read(table("<p>Year<p>ended|a<br>b|<ul><li>c<li>d</ul>")) == ["Year ended | a b | c d"]
    nested = table("x|1", "y|2")
    assert read(table(f"Repairs|{nested}|3.1")) == ["Repairs | x 1; y 2 | 3.1"]


def test_signs_stand_with_their_numbers_and_spacers_are_left_out() -> None:
    page = table(
        "||2026|||2025||",
        "Net sales||$|412.5|||$|385.1|",
        "Net loss|||(12.4|)|||3.1|",
        "Growth||| 7.0|%|||(1.5|)%",
    )
    page = page.replace("<td>2026</td><td></td>", "<td colspan=3>2026</td>").replace(
        "<td>2025</td>", "<td colspan=2>2025</td>"
    )
    assert read(page)[1:] == ["Net sales | $ 412.5 | $ 385.1", "Net loss | (12.4) | 3.1", "Growth | 7.0% | (1.5)%"]


def test_a_bullet_in_a_cell_of_its_own_is_no_cell() -> None:
    assert read(table("•|First cable", "•|Second cable")) == ["• First cable", "• Second cable"]


def test_a_long_table_is_read_to_its_end() -> None:
    rows = [f"Row {number}|{number}" for number in range(5000)]
    assert read(table(*rows)) == [row.replace("|", " | ") for row in rows]


def test_a_cell_of_marks_alone_is_empty() -> None:
    assert read("<table><tr><td><table><tr><td>;</td></tr></table></td><td>a</td></tr></table>") == ["a"]


@pytest.mark.parametrize("around", ["{}", "<div role=main>{}</div>", "<style>.x{{display:none}}</style>{}"])
def test_bare_rows_are_read_like_others(around: str) -> None:
    rows = "<tr><td colspan=2>a</td>\n<th>b</th></tr><tr><td>1<td>2<td rowspan=2>3<tr><td>#4<td> <tr><td>5</td>x</tr>"
    assert read(around.format(f"<table>{rows}</table>")) == read(f"<table>{rows.replace('>#4', '><b>#4</b>')}</table>")


def test_a_missing_value_keeps_its_place() -> None:
    assert read(table("|2025|2026", "Wages||41.5", "Rent|7|")) == ["| 2025 | 2026", "Wages | | 41.5", "Rent | 7"]
    rows = "<tr><td rowspan=2>2025<td>Cars<td>9</tr><tr><td>Vans<td>3</tr>"
    assert read(f"<table>{rows}</table>") == ["2025 | Cars | 9", "| Vans | 3"]


def test_a_layout_is_read_as_blocks() -> None:
    words = "Words of a long paragraph. " * 20
    page = table(f"<a>Menu</a>|<h1>Head</h1><p>{words}</p><p>{words}</p>{table('a|b', 'c|d')}")
    assert read(page) == ["Menu", "# Head", words.strip(), words.strip(), "a | b", "c | d"]
    assert read(table("<p>one</p><p>two</p>")) == ["one", "two"]
    assert read("<table><caption>Costs</caption><tr><th>a<th>b</table>") == ["Costs", "a | b"]


# Raised and lowered


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("5 &times; 10<sup>6</sup> cells", "5 × 10^6 cells"),
        ("10<sup>&minus;3</sup> per day", "10^-3 per day"),
        ("10<sup><span>-</span>3</sup>", "10^-3"),
        ("2 m<sup>2</sup> trays", "2 m^2 trays"),
        ("e<sup>-x/2</sup>", "e^(-x/2)"),
        ("(a+b)<sup>2</sup>", "(a+b)^2"),
        ("x<sup>2</sup>y", "x^2 y"),
        ("log<sub>10</sub>2", "log_10 2"),
        ("H<sub>2</sub>O and SO<sub>4</sub><sup>2&minus;</sup>", "H2O and SO4^2-"),
        ("V<sub>max</sub>", "V_max"),
        ("the 5<sup>th</sup> trial", "the 5th trial"),
        ("cracks<sup>1</sup> in cables.<sup>2,3</sup>", "cracks[1] in cables.[2,3]"),
        ("$3<sup>4</sup> million in 1931<sup>[12]</sup>", "$3[4] million in 1931[12]"),
        ("in 1931<sup>4</sup>", "in 1931[4]"),
        ("$10<sup>6</sup>", "$10^6"),
        ("2<sup>n</sup> and 2<sup>10</sup>", "2^n and 2^10"),
        ("rate 3.2<sup>a</sup>, note<sup>a,b</sup>", "rate 3.2[a], note[a,b]"),
        ("10<sup>1,2</sup>", "10[1,2]"),
        ("sales 412<sup><a href=x>4</a></sup>", "sales 412[4]"),
        ("<sup>1</sup>See note", "[1] See note"),
        ("<sup>14</sup>C dating", "^14C dating"),
        ("2<sup>1</sup>/<sub>2</sub> cups", "2 1/2 cups"),
        ("Brand<sup>TM</sup>", "BrandTM"),
        ("Revenue<sup>(1)</sup>", "Revenue(1)"),
    ],
)
def test_exponents_indices_and_notes_make_no_other_numbers(page: str, text: str) -> None:
    assert read(f"<p>{page}</p>") == [text]


# Formulas

EMC = "<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>"
TEX = '<annotation encoding="application/x-tex">E=mc^2</annotation>'


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (f'<math alttext="{{\\displaystyle E=mc^{{2}}}}">{EMC}</math>', "E=mc^{2}"),
        (f"<math><semantics><mrow>{EMC}</mrow>{TEX}</semantics></math>", "E=mc^2"),
        (f"<math>{EMC}</math>", "E = mc^2"),
        ("<math><mn>40</mn><mtext> mg</mtext></math>", "40 mg"),
        (
            "<math><mfrac><mn>1</mn><mrow><mn>2</mn><mi>m</mi></mrow></mfrac><msqrt><mi>x</mi></msqrt></math>",
            "1/(2m)sqrt(x)",
        ),
        ("<math><msup><mn>10</mn><mrow><mo>&minus;</mo><mn>4</mn></mrow></msup></math>", "10^−4"),
        ("<math><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac></math>", "(a + b)/c"),
        ("<math><mi>sin</mi><mo>&#x2061;</mo><mi>x</mi></math>", "sin x"),
        (
            "<m:math><m:msup><m:mn>10</m:mn><m:mn>6</m:mn></m:msup><m:mi>x</m:mi></m:math>",
            "10^6 x",
        ),
        ("<script type='math/tex; mode=display'>E=mc^2</script>", "E=mc^2"),
        (
            f"<span class=katex><span class=katex-mathml><math><semantics>{EMC}{TEX}</semantics></math></span>"
            "<span class=katex-html aria-hidden=true>E=mc2</span></span>",
            "E=mc^2",
        ),
        (
            "<span class=MathJax_Preview>E</span><span class=MathJax><span>E=mc2</span></span>"
            "<script type='math/tex'>E=mc^2</script>",
            "E=mc^2",
        ),
        (
            f"<mjx-container><mjx-math aria-hidden=true>E</mjx-math><mjx-assistive-mml><math>{EMC}</math>"
            "</mjx-assistive-mml></mjx-container>",
            "E = mc^2",
        ),
        (
            f"<span class=mwe-math-element><span style='display:none'><math alttext='E=mc^2'>{EMC}</math></span>"
            "<img class=mwe-math-fallback aria-hidden=true alt='E=mc^2'></span>",
            "E=mc^2",
        ),
        ("<img class=tex alt='E=mc^2'>", "E=mc^2"),
    ],
)
def test_formulas_are_read_once(formula: str, text: str) -> None:
    assert read(f"<p>The loss is {formula} at low speed.</p>") == [f"The loss is {text} at low speed."]
    assert read(table(f"Loss|{formula}")) == [f"Loss | {text}"]


# Forms


def test_what_is_filled_in_is_read() -> None:
    page = """<p>Name: <input value="Ada"> <input type=checkbox checked> adult <input type=radio> minor
    <input type=hidden value=token><input type=submit value=Send><input type=password value=x></p>
    <textarea>A typed statement.</textarea><select><option>Choose<option selected>Leith</select>"""
    assert read(page) == ["Name: Ada [x] adult [ ] minor", "A typed statement. Leith"]


# Main text

LINKS = "".join(f"<li><a href=x{n}>Another story of the day, number {n}</a></li>" for n in range(9))
STORY = " ".join(
    f"<p>In paragraph {n} the engineers found cracks in the cables of the old bridge.</p>" for n in range(9)
)
WEB_PAGE = f"""<title>Bridge</title><body><div class=top><ul>{LINKS}</ul></div>
<div class=page><div class=story><h1>Bridge</h1>{STORY}
<table><tr><th>Year<th>Cars<tr><td>2024<td>10<sup>4</sup></table>
<p>The load is <math alttext="F=ma"><mi>F</mi></math> at most, which the engineers of the harbour had not expected.</p>
</div><div class=more><h3>Most read</h3><ul>{LINKS}</ul></div></div><footer><p>All rights reserved.</p></footer>"""


def test_the_main_text_is_read_like_any_page() -> None:
    notes = Notes()
    lines = read(WEB_PAGE, notes, html="main")
    assert lines[:2] == ["# Bridge", "In paragraph 0 the engineers found cracks in the cables of the old bridge."]
    assert lines[10:] == [
        "Year | Cars",
        "2024 | 10^4",
        "The load is F=ma at most, which the engineers of the harbour had not expected.",
    ]
    assert not notes.warnings
    assert "- Another story of the day, number 3" in read(WEB_PAGE)


def test_without_a_main_text_all_is_read_and_told() -> None:
    notes = Notes()
    assert read("<p>Closed.</p>", notes, html="main") == ["Closed."]
    assert notes.warnings == ["No main text was found in the page; all of its text was read."]


def test_another_choice_of_text_is_made_by_something_else() -> None:
    everything, main = (html.made_by(InputSettings(sources=("unused",), html=choice)) for choice in ("all", "main"))
    assert main.startswith(everything) and "trafilatura" in main


# Robustness


@pytest.mark.parametrize("choice", ["all", "main"])
@pytest.mark.parametrize(
    "piece",
    [
        "<table><tr><td>",
        "<div style='visibility:hidden'>",
        "<p><sup>",
        "<math><mrow>",
        "<td colspan=1000 rowspan=60000>1",
        "<ol><li>",
        "<style>a{",
        "<style>/*",
        "<h1><pre>",
    ],
)
def test_odd_pages_take_no_longer_than_their_length(piece: str, choice: str) -> None:
    start = time.process_time()
    read(piece * 500, html=choice)
    read((piece + "</td></tr></table></div></sup></p></mrow></math></li></ol></style></pre></h1>") * 2_000, html=choice)
    assert time.process_time() - start < 20


def test_a_style_sheet_of_many_rules_is_read_once() -> None:
    sheet = "".join(f".a{n}, .b{n} .c {{ display: none }} .d{n} {{ color: red }}" for n in range(3_000))
    start = time.process_time()
    assert read(f"<style>{sheet}</style>" + "<p class=a7>no</p><p class=x>yes</p>" * 500) == ["yes"] * 500
    assert time.process_time() - start < 10
