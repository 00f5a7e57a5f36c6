"""`python -m jobs.review OUTPUT --html review.html`: a page for those who sign off a batch of summaries."""

from typing import Annotated

import typer

from jobs import command
from jobs.review_page import page
from pipeline.reports.quantities import count
from pipeline.reports.review import review as reviewed
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects

Html = Annotated[str, typer.Option("--html", metavar="FILE", help="Where to write the page, a single file.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where", metavar="SQL", help="Only documents with a row of `latest` of which this is true, as prompt_id='x'."
    ),
]
Documents = Annotated[
    int, typer.Option("--documents", min=1, metavar="N", help="At most so many: those with most to check.")
]


def review(output: command.OutputUri, html: Html, where: Where = None, documents: Documents = 200) -> None:
    """Write a page that shows what was written about each document, and where it is from: key sentences with their
    paragraphs, answers with what supports each sentence, and what nothing in the document supports.

    It is about what answers today (the view `latest`). Documents are read again where they are still what was read.
    """
    found = reviewed(Warehouse(output), where, documents)
    written = page(found).encode()
    objects.publish(objects.resolve(html), written)
    left = f" of {count(found.num_matching)}" if found.num_matching > len(found.documents) else ""
    print(f"page of {count(len(found.documents))} documents{left} written to {html}")


if __name__ == "__main__":
    command.run(review)
