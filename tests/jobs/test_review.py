"""The page of a review: its size, what hostile documents do to it, and what a person can do with it in a browser."""

import re

import pytest

from jobs import review_page
from jobs.review_page import ROOMS, page, share, shown
from pipeline.reports.review import review
from pipeline.reports.warehouse import Warehouse
from tests import chromium
from tests.batch import Batch, write_batch
from tests.jobs.warm import Warm
from tests.nights import HOSTILE
from tests.parsed import Parsed
from tests.waiting import wait_for

CLOSED = "document.querySelectorAll('.shown details:not([open])').length"
LIMIT = 3_000_000
END = "</script></style></section><script>alert('x')</script><!-- \N{LINE SEPARATOR} {{ 7 * 7 }} ]]> &lt;b&gt;"
TEXT = f"Alpha {HOSTILE} opened. It grew.\n\nBeta {END} closed. Nobody knows.\n\nGamma came.\n"
ALPHA, BETA = f"Alpha {HOSTILE} opened.", f"Beta {END} closed."
ANSWER = f"It says {HOSTILE} of 1991. Then {END}."


def written(batch, **options):
    return page(review(Warehouse(str(batch.write())), **options))


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    return write_batch(tmp_path_factory.mktemp("batch"), 30)


@pytest.fixture(scope="module")
def html(batch):
    return written(batch)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    batch = Batch(tmp_path_factory.mktemp("hostile"))
    columns = {"source_uri": f"s3://bucket/{END}", "warnings": [HOSTILE, END]}
    about = batch.document("a.txt", TEXT, HOSTILE)
    batch.extract(about, TEXT, ALPHA, BETA, prompt_id=END)
    batch.answer(about, TEXT, ANSWER, {f"It says {HOSTILE} of 1991.": ALPHA}, unsupported=["1991", END, ""])
    gone = batch.document("b.txt", TEXT, END, document_id=END, **columns)
    batch.extract(gone, TEXT, BETA, section_index=0, section_title=END)
    batch.answer(gone, TEXT, HOSTILE, model_id=END, answer_error=END)
    title = END.replace("'", "''")
    return written(batch, where=f"title <> '{title}!'")


def test_what_was_written_is_there_with_where_it_is_from(html):
    text = Parsed(html).text
    assert "Report 3" in text
    assert "Revenue was 4,817 in the quarter." in re.sub(r"\s+", " ", text)
    assert "The document does not hold: 4,817" in text
    assert "3 bytes could not be decoded" in text
    assert all(f"In paragraph {number} of 3," in text for number in (1, 4, 9, 17, 24, 31, 38))
    assert "4 sections" in text


def test_hostile_documents_stay_text(hostile):
    parsed = Parsed(hostile)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not {"img", "link", "iframe", "b", "object"} & {tag for tag, _ in parsed.tags}
    assert not [found for _, found in parsed.tags if {"onerror", "onload", "src", "style"} & found.keys()]
    assert all(found["href"][0] == "#" for _, found in parsed.tags if "href" in found)
    assert parsed.text.count(HOSTILE) > 3
    assert "\N{LINE SEPARATOR}" not in hostile
    assert "{{ 7 * 7 }}" in parsed.text


def test_a_policy_allows_the_script_that_is_there_and_nothing_else(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_text_cannot_be_turned_around(tmp_path):
    batch = Batch(tmp_path)
    text = "Alpha \N{RIGHT-TO-LEFT OVERRIDE}opened.\N{ZERO WIDTH NON-JOINER}\n"
    batch.answer(batch.document("a.txt", text), text, text, {text.strip(): text.strip()})
    html = written(batch)
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in html
    assert "Alpha \N{REPLACEMENT CHARACTER}opened.\N{ZERO WIDTH NON-JOINER}" in html


def test_two_hundred_documents_have_less_than_three_megabytes(tmp_path):
    html = written(write_batch(tmp_path, 200))
    assert len(html.encode()) < LIMIT
    assert html.count('class="document') == 200
    assert "no room on this page" not in html


def test_so_have_those_whose_text_takes_many_bytes(tmp_path):
    batch = Batch(tmp_path)
    sentences = [
        f"第{number}季度的收入为\"{number}\"百万，'其中'<大部分>来自河流与桥梁的维修合同。" for number in range(60)
    ]
    text = "\n".join(sentences)
    for number in range(200):
        about = batch.document(f"{number}.txt", text, f"报告{number}" + "很" * 200)
        batch.extract(about, text, *sentences[:8])
        batch.answer(
            about, text, "".join(sentences), {each: each for each in sentences[:20]}, unsupported=sentences[:9]
        )
    assert len(written(batch).encode()) < LIMIT


def test_large_documents_are_shortened_and_small_ones_are_not(tmp_path, monkeypatch):
    batch = Batch(tmp_path)
    sentences = [f"Sentence {number} of a long document with many sections." for number in range(600)]
    text = "\n\n".join(sentences) + "\n\n" + " ".join(sentences)
    large = batch.document("large.txt", text, "Large")
    batch.extract(large, text, *sentences)
    batch.answer(large, text, text, {each: each for each in sentences[:200]})
    for index in range(200):
        batch.extract(large, text, *sentences[index : index + 4], section_index=index, section_title="A part")
    small = batch.document("small.txt", TEXT, "Small")
    batch.extract(small, TEXT, "It grew.")
    monkeypatch.setattr(review_page, "ROOM_BYTES", 60_000)
    html = written(batch)
    assert len(html.encode()) < 60_000 + 25_000
    text = Parsed(html).text
    assert "for which there is no room on this page" in text
    assert "Sentence 0 of a long document" in text
    assert "It grew." in text


@pytest.mark.parametrize(
    ("wanted", "room", "most"),
    [([10, 10], 30, review_page.MOST_ROOM_BYTES), ([10, 100], 60, 50), ([100, 100, 1], 41, 20), ([], 9, 200_000)],
)
def test_what_some_documents_do_not_need_is_for_others(wanted, room, most):
    assert share(wanted, room) == most


def parts_of(batch, document, room=ROOMS[0]):
    batch.write()
    (reviewed,) = review(Warehouse(str(batch.output))).documents
    (entry,) = shown("d1", reviewed, room).entries
    return [
        ("".join(bit for bit, _ in part.bits), part.number, [bit for bit, bad in part.bits if bad])
        for part in entry.parts
    ]


def test_an_answer_is_parted_at_its_sentences(tmp_path):
    batch = Batch(tmp_path)
    about = batch.document("a.txt", TEXT)
    answer = "Zürich grew. In 2012, 12 left, A_12.\nNobody knows."
    cited = {"In 2012, 12 left, A_12.": "It grew.", "Zürich grew.": "Gamma came."}
    row = batch.answer(about, TEXT, answer, cited, unsupported=["12", "Bern"])
    overlapping = row["citations"][0] | {"answer_start": 3}
    outside = row["citations"][0] | {"answer_start": 40, "answer_end": 4000}
    row["citations"] += [overlapping, outside]
    parts = parts_of(batch, about)
    assert "".join(text for text, _, _ in parts) == answer
    assert [part for part in parts if part[1]] == [
        ("Zürich grew.", 2, []),
        ("In 2012, 12 left, A_12.", 1, ["12", "12"]),
    ]


def test_a_sentence_that_hardly_anything_supports_looks_so(tmp_path):
    batch = Batch(tmp_path)
    row = batch.answer(batch.document("a.txt", TEXT), TEXT, "One. Two.", {"One.": "It grew.", "Two.": "It grew."})
    row["citations"][1]["score"] = 0.04
    html = written(batch)
    assert re.findall('class="(cited[^"]*)"', html) == ["cited", "cited weak"]
    assert "holds 80% of its words" in html
    assert "holds 4% of its words" in html


def test_lines_of_prose_flow_and_others_stay(tmp_path):
    wrapped = "It was a bright cold day in April, and the clocks were striking\nthirteen. He slipped in."
    assert review_page._unwrapped(review_page.Passage("", wrapped, "")) == ("", wrapped.replace("\n", " "), "")
    log = "ERROR one\nERROR two\n- a list\n"
    assert review_page._unwrapped(review_page.Passage(log, "x", log)) == (log, "x", log)


def test_documents_that_are_gone_have_their_sentences(tmp_path):
    batch = Batch(tmp_path)
    batch.extract(batch.document("a.txt", TEXT), TEXT, "It grew.", "Gamma came.")
    (tmp_path / "documents" / "a.txt").unlink()
    text = Parsed(written(batch)).text
    assert "It grew." in text
    assert "Sentences are shown without their paragraphs: the document does not exist any more." in text


def test_a_batch_of_nothing_has_a_page_that_says_so(batch):
    assert "No document of this output has a row that fulfills this." in Parsed(written(batch, where="false")).text


def test_the_command_writes_the_page(batch, tmp_path):
    batch.write()
    with Warm(tmp_path) as run:
        file = tmp_path / "review.html"
        arguments = [str(batch.output), "--html", str(file), "--documents", "5", "--where", "prompt_id = 'of_section'"]
        done = run("jobs.review", arguments)
        assert (done.returncode, done.stdout) == (0, f"page of 5 documents of 6 written to {file}\n")
        assert file.read_text(encoding="utf-8").count('class="document') == 5
        wrong = run("jobs.review", [*arguments[:-1], "no_such"])
    assert wrong.returncode == 2
    assert "--where no_such" in wrong.stderr


@pytest.fixture(scope="module")
def browser():
    with chromium.started() as opened:
        yield opened


@pytest.fixture
def file(html, tmp_path):
    path = tmp_path / "review.html"
    path.write_text(html, encoding="utf-8")
    return path


def rows(tab):
    return tab.locator("#list tbody tr:visible").count()


def passages(tab):
    return tab.locator(".document:visible blockquote:visible").count()


def becomes(tab, selector, text):
    """An address that changes is followed a moment later."""
    wait_for(lambda: tab.locator(selector).all_inner_texts() == [text], f"{selector} is {text}")


def titles(tab):
    return tab.locator("#list tbody tr:visible a").all_inner_texts()


@pytest.mark.slow
def test_search_finds_and_sorting_sorts(browser, file):
    with chromium.watched(browser, file) as opened:
        tab = opened.tab
        assert rows(tab) == 30
        tab.fill("#search", "of 17, REPORT")
        assert titles(tab) == ["Report 17"]
        assert tab.inner_text("#found") == "1 of 30"
        tab.fill("#search", "")
        tab.click("th[data-key=title] button")
        assert titles(tab) == [f"Report {number}" for number in range(30)]
        tab.click("th[data-key=title] button")
        assert titles(tab) == [f"Report {number}" for number in reversed(range(30))]
        for key in ("tokens", "cost", "warnings", "unsupported"):
            tab.click(f"th[data-key={key}] button")
            values = [float(row.get_attribute(f"data-{key}")) for row in tab.locator("#list tbody tr").all()]
            assert values == sorted(values, reverse=True)
            assert tab.get_attribute(f"th[data-key={key}]", "aria-sort") == "descending"
        assert (opened.said, opened.asked) == ([], [file.as_uri()])


@pytest.mark.slow
def test_a_click_opens_a_document_and_one_on_a_citation_its_passage(browser, file):
    with chromium.watched(browser, file) as opened:
        tab = opened.tab
        tab.click("#list tbody tr:has(a:text-is('Report 3')) td >> nth=0")
        becomes(tab, ".document:visible h2", "Report 3")
        assert tab.locator(".overview:visible").count() == 0
        assert tab.locator(".document:visible .strip >> nth=0").locator("a").count() == 7
        cited = tab.locator(".document:visible .cited")
        assert (cited.count(), passages(tab)) == (2, 0)
        cited.nth(1).click()
        wait_for(lambda: passages(tab) == 1)
        assert "In paragraph 30 of 3," in tab.inner_text(".document:visible blockquote:visible mark")
        assert tab.inner_text(".document:visible .answer mark.unsupported") == "4,817"
        # Again, though the address stays the same.
        tab.click(".document:visible .passage[open] summary")
        wait_for(lambda: passages(tab) == 0)
        cited.nth(1).click()
        wait_for(lambda: passages(tab) == 1)
        tab.click(".document:visible .strip >> nth=0 >> a >> nth=2")
        wait_for(lambda: passages(tab) == 2)
        assert "In paragraph 9 of 3," in tab.inner_text(".document:visible blockquote:visible mark >> nth=0")
        tab.go_back()
        tab.click(".document:visible nav a:text-is('All documents')")
        wait_for(lambda: rows(tab) == 30)
        assert (opened.said, opened.asked) == ([], [file.as_uri()])


@pytest.mark.slow
def test_the_keyboard_does_all(browser, file):
    with chromium.watched(browser, file) as opened:
        tab = opened.tab
        press = tab.keyboard.press
        press("/")
        tab.keyboard.type("report")
        press("Enter")
        becomes(tab, ".document:visible nav .where", "1 of 30")
        first = tab.inner_text(".document:visible h2")
        press("j")
        becomes(tab, ".document:visible nav .where", "2 of 30")
        press("k")
        becomes(tab, ".document:visible h2", first)
        while tab.evaluate("document.activeElement.tagName") != "SUMMARY":
            press("Tab")
        press("Enter")
        wait_for(lambda: passages(tab) == 1)
        press("Escape")
        wait_for(lambda: rows(tab) == 30)
        wait_for(lambda: tab.evaluate("document.activeElement.textContent") == first)
        assert opened.said == []


@pytest.mark.slow
def test_hostile_documents_do_nothing(browser, hostile, tmp_path):
    file = tmp_path / "review.html"
    file.write_text(hostile, encoding="utf-8")
    with chromium.watched(browser, file) as opened:
        for id in ("d1", "d2"):
            opened.tab.evaluate(f"location.hash = '{id}'")
            opened.tab.wait_for_selector(f"#{id}:visible")
            for each in opened.tab.locator(f"#{id} summary:visible").all():
                each.click()
        assert HOSTILE in opened.tab.inner_text("#d2") + opened.tab.inner_text("#d2 .answer")
        assert (opened.said, opened.asked) == ([], [file.as_uri()])


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [chromium.DESKTOP, chromium.PHONE], ids=["desktop", "phone"])
def test_it_fits_and_asks_nobody(browser, file, viewport, scheme):
    with chromium.watched(browser, file, viewport, scheme) as opened:
        for id in ("", "d1"):
            opened.tab.evaluate(f"location.hash = '{id}'")
            opened.tab.wait_for_selector(f"#{id or 'list'}:visible")
            assert opened.tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            name = chromium.picture(f"review-{id or 'list'}", viewport, scheme)
            assert len(opened.tab.screenshot(path=name)) > 20_000
        assert (opened.said, opened.asked) == ([], [file.as_uri()])


@pytest.mark.slow
def test_on_paper_all_of_a_document_is_seen(browser, file):
    with chromium.watched(browser, file) as opened:
        opened.tab.evaluate("location.hash = 'd1'")
        opened.tab.wait_for_selector("#d1:visible")
        opened.tab.evaluate(f"addEventListener('beforeprint', () => {{ window.closed = {CLOSED} }})")
        assert opened.tab.evaluate(CLOSED) == 9
        assert opened.tab.pdf()
        assert opened.tab.evaluate("closed") == 0
        assert opened.tab.locator(".document:visible .passage[open]").count() == 0
