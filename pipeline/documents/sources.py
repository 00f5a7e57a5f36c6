"""Which documents there are: files, directories, globs, object stores, manifests, and what archives and tables hold."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog
from fsspec.utils import glob_translate

from configs.errors import ConfigError, UnreadableError
from configs.settings import InputSettings
from pipeline.documents import bookkeeping, containers, content, manifests, members, pinned
from pipeline.schemas.document import Document
from pipeline.storage import objects
from pipeline.storage.listing import Listed

log = structlog.get_logger()

GLOB = re.compile(r"[*?\[]")


def list_documents(settings: InputSettings) -> list[Document]:
    """All documents of all sources, each object once, sorted by URI and, within an object, as they lie there.

    A manifest that is given stands for the documents that it lists, with their ids; one that is only found is skipped,
    and so is what is no document (`bookkeeping`).
    Unreadable objects become Documents with their error set. Raises ConfigError for a source that is empty or has a
    scheme that documents are not read from, for an invalid manifest and for duplicate ids; StorageError for a store
    that cannot be listed.
    """
    named: dict[str, tuple[str, Listed]] = {}
    given: dict[str, None] = {}
    found: dict[str, None] = {}
    for source in settings.sources:
        for entry, is_given in _match(source):
            if manifests.is_manifest(entry.uri):
                (given if is_given else found)[entry.uri] = None
            else:
                named.setdefault(entry.uri, (entry.uri, entry))
    _pass_over([uri for uri in found if uri not in given], is_all=not named and not given)
    _without_bookkeeping(named, settings.sources)
    failed = _follow(given, named, settings.allow_outside)
    documents = [document for each in (*named.values(), *failed) for document in _documents(*each, settings)]
    documents.sort(key=lambda document: document.source_uri)
    _require_unique(documents)
    return documents


def _follow(
    given: Iterable[str], named: dict[str, tuple[str, Listed]], allow_outside: bool
) -> Iterable[tuple[str, Listed]]:
    """Add the documents of manifests; returns those that cannot be read. Raises ConfigError."""
    ids: dict[str, str] = {}
    failed: dict[tuple[str, str], tuple[str, Listed]] = {}
    for manifest in given:
        for document_id, entry in manifests.entries(manifest, allow_outside):
            if entry.problem:
                failed[document_id, entry.uri] = document_id, entry
                continue
            if ids.setdefault(entry.uri, document_id) != document_id:
                raise ConfigError(
                    f"input.sources: manifests name {entry.uri} both {ids[entry.uri]!r} and {document_id!r}; "
                    "give it one document_id"
                )
            named[entry.uri] = (document_id, entry)
    return failed.values()


def _pass_over(found: Sequence[str], is_all: bool) -> None:
    """Log and skip manifests that were found, not given. Raises ConfigError if there is nothing else."""
    for uri in found:
        log.warning("manifest_skipped", uri=uri, remedy="to use it, give it by name in input.sources")
    if found and is_all:
        raise ConfigError(
            f"input.sources: there are only manifests below it, such as {found[0]}, which are used only if they are "
            "given: by name, or by a glob that ends in .manifest.jsonl or .manifest.parquet"
        )


def _without_bookkeeping(named: dict[str, tuple[str, Listed]], sources: Sequence[str]) -> None:
    """Raises ConfigError if there is nothing else."""
    kept = bookkeeping.without([entry for _, entry in named.values()], {objects.resolve(source) for source in sources})
    if named and not kept:
        raise ConfigError(
            f"input.sources: there is nothing below it but what programs leave beside documents, such as "
            f"{next(iter(named))}"
        )
    for uri in named.keys() - {entry.uri for entry in kept}:
        del named[uri]


def _match(source: str) -> list[tuple[Listed, bool]]:
    """The objects of a source, each with whether it counts as given by name, so that it may be a manifest. An existing
    path is taken literally even if it looks like a glob. Raises ConfigError."""
    try:
        objects.refuse_scheme(source)
    except ValueError as error:
        raise ConfigError(f"input.sources = {source!r}: {error}") from error
    uri = objects.resolve(source)
    entries = [entry for entry in objects.walk(uri) if not _is_hidden(entry.uri, uri)]
    is_glob = GLOB.search(uri) is not None
    is_expanded = is_glob and not entries
    if is_expanded:
        entries = _expand(source, uri)
    if not entries:
        hint = "the glob matches no file" if is_glob else "there is no such file, directory or prefix, or nothing in it"
        raise ConfigError(f"input.sources = {source!r}: {hint}; hidden files are skipped, `**` matches directories")
    return [(entry, manifests.is_manifest(uri) and (is_expanded or entry.uri == uri)) for entry in entries]


def matcher(sources: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether a URI is one that a listing of these sources finds while it exists; manifests are not opened."""
    roots = [objects.resolve(source) for source in sources]
    globs = [_glob(source, root)[2] for source, root in zip(sources, roots, strict=True) if GLOB.search(root)]

    def matches(uri: str) -> bool:
        return any(is_match(uri) for is_match in globs) or any(
            uri == root or (uri.startswith(f"{root.rstrip('/')}/") and not _is_hidden(uri, root)) for root in roots
        )

    return matches


def _expand(source: str, uri: str) -> list[Listed]:
    fixed, depth, matches = _glob(source, uri)
    return [entry for entry in objects.walk(fixed, depth) if matches(entry.uri)]


def _glob(source: str, uri: str) -> tuple[str, int | None, Callable[[str], bool]]:
    """The folder that a glob begins in, how deep it goes (None: any depth), and which URIs below it match."""
    fixed = uri[: GLOB.search(uri).start()].rpartition("/")[0] or "/"  # type: ignore[union-attr]
    if fixed.endswith(":/"):
        raise ConfigError(f"input.sources = {source!r}: name the bucket; only what follows it can be a glob")
    below = f"{fixed.rstrip('/')}/"
    pattern = uri[len(below) :]
    try:
        matches = re.compile(glob_translate(pattern)).match
    except (ValueError, re.error) as error:
        raise ConfigError(f"input.sources = {source!r} is no valid glob: {error}") from error
    depth = None if "**" in pattern else pattern.count("/") + 1

    def is_match(uri: str) -> bool:
        return uri.startswith(below) and not _is_hidden(uri, fixed) and matches(uri[len(below) :]) is not None

    return fixed, depth, is_match


def _is_hidden(uri: str, root: str) -> bool:
    return any(name.startswith(".") for name in uri[len(root) :].split("/"))


def _documents(document_id: str, entry: Listed, settings: InputSettings) -> Iterator[Document]:
    if entry.problem:
        return iter([members.failed(document_id, entry, UnreadableError(entry.problem))])
    if containers.may_be(entry.uri) and (found := members.documents(document_id, entry, settings)):
        return found
    try:
        pin = pinned.pin(entry)
    except OSError as error:
        return iter([members.failed(document_id, entry, content.unreadable(error))])
    return iter([Document(document_id, pin.uri, pin.etag, pin.size_bytes)])


def _require_unique(documents: list[Document]) -> None:
    seen: dict[str, Document] = {}
    for document in documents:
        first = seen.setdefault(document.document_id, document)
        if first is not document:
            raise ConfigError(
                f"input.sources: {first.source_uri} and {document.source_uri} have the same document_id "
                f"{document.document_id!r}; each needs its own"
            )
