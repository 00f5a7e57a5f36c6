"""The documents in objects that hold several: listing them, and opening them again."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from configs.errors import DocumentError, EmptyDocumentError, LonghaulError, UndecodableError, unexpected
from configs.settings import InputSettings
from pipeline.documents import compression, containers, content, pinned
from pipeline.documents.container import Container, Member
from pipeline.schemas.document import Document, Place
from pipeline.storage.listing import Listed

ARCHIVES = ("zip", "tar")
DEEPEST = 3
"""Archives that an archive may lie in."""


def documents(document_id: str, entry: Listed, settings: InputSettings) -> Iterator[Document] | None:
    """The documents of an object, in the order in which they lie there; None if it holds only one. Where it breaks off
    or is damaged, the rest is one more document, which failed.

    Raises StorageError, also while they are listed.
    """
    listing = _Listing(entry, settings)
    try:
        stream = content.open_document(entry.uri, settings.max_expansion)
        found = containers.find(stream, entry.uri, settings)
    except DocumentError as error:
        return iter([listing.failed(document_id, error)])
    except LonghaulError:
        raise
    except Exception as error:  # a file that nobody foresaw is no reason to list nothing
        return iter([listing.failed(document_id, unexpected(error))])
    return None if found is None else listing.of(document_id, (), *found, listing.etag)


def failed(document_id: str, entry: Listed, error: DocumentError) -> Document:
    """A document that cannot be read as its listing shows."""
    name, message = type(error).__name__, str(error)
    return Document(document_id, entry.uri, entry.etag, entry.size_bytes, error_class=name, error_message=message)


class _Listing:
    """Of one object."""

    def __init__(self, entry: Listed, settings: InputSettings) -> None:
        self._entry, self._settings = entry, settings
        self._most_bytes = max(compression.EXPANSION_COUNTS_FROM_BYTES, settings.max_expansion * entry.size_bytes)

    def etag(self) -> str:
        """Of the object; empty where it cannot be read."""
        with suppress(OSError, DocumentError):
            return pinned.pin(self._entry).etag
        return ""

    def failed(self, document_id: str, error: DocumentError) -> Document:
        """The object as one that cannot be read."""
        return failed(document_id, replace(self._entry, etag=self.etag()), error)

    def of(
        self,
        document_id: str,
        outer: tuple[Place, ...],
        kind: str,
        container: Container,
        etag: Callable[[], str],
    ) -> Iterator[Document]:
        """The documents of a container that lies at `outer` in the object and has an etag."""
        taken: set[str] = set()
        try:
            for member in container.members():
                name = member.name
                while name in taken:
                    name += member.other_name
                taken.add(name)
                member_id, within = f"{document_id}#{name}", (*outer, member.place)
                if kind in ARCHIVES:
                    yield from self._of_file(member_id, within, container, member)
                else:
                    yield self._document(member_id, within, member.size_bytes, member.etag, member.error)
            if kind in ARCHIVES and not taken:
                raise EmptyDocumentError("The archive is empty: there is no document in it.")
        except LonghaulError as error:
            if not isinstance(error, DocumentError):
                raise
            yield self._rest(document_id, outer, etag, error)
        except Exception as error:  # nor is what nobody foresaw in one
            yield self._rest(document_id, outer, etag, unexpected(error))
        finally:
            container.close()

    def _of_file(
        self, document_id: str, within: tuple[Place, ...], archive: Container, member: Member
    ) -> Iterator[Document]:
        """A file of an archive, or what is in it if it is a container itself."""
        error, etag = member.error, partial(archive.etag, member)
        if error is None and containers.may_be(member.name):
            try:
                if found := self._find(archive, member, len(within)):
                    yield from self.of(document_id, within, *found, etag)
                    return
            except DocumentError as problem:
                error = problem
        yield self._document(document_id, within, member.size_bytes, etag(), error)

    def _find(self, archive: Container, member: Member, depth: int) -> tuple[str, Container] | None:
        stream = content.decompressed(archive.content(member), member.name, self._settings.max_expansion)
        found = containers.find(stream, member.name, self._settings, self._most_bytes)
        if found and found[0] in ARCHIVES and depth >= DEEPEST:
            found[1].close()
            raise UndecodableError(f"The archive lies in more than {DEEPEST} others; unpack it.")
        return found

    def _rest(
        self, document_id: str, outer: tuple[Place, ...], etag: Callable[[], str], error: DocumentError
    ) -> Document:
        """What of a container cannot be listed."""
        if not outer:
            return self.failed(document_id, error)
        return self._document(document_id, outer, outer[-1].length or 0, etag(), error)

    def _document(
        self, document_id: str, within: tuple[Place, ...], size: int, etag: str, error: DocumentError | None
    ) -> Document:
        name, message = (type(error).__name__, str(error)) if error else (None, None)
        return Document(document_id, self._entry.uri, etag, size, within, name, message)


class MemberReader:
    """Opens what lies in containers. In the order of a listing, each container is opened once and gone through once."""

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._path: list[tuple[str | Place, str]] = []
        """Where each of the open containers lies, in the object or the one before it, and its kind."""
        self._open: list[Container] = []

    def open(self, document: Document) -> BinaryIO:
        """The stored content of a document that lies in one, as it was listed; at most one is open at a time. What else
        is in the object may have changed.

        Raises a DocumentError or StorageError, also while it is read.
        """
        # What is open may be what the object was before it was written anew, or may have gone too far.
        with suppress(DocumentError):
            if stream := self._attempt(document):
                return stream
        if stream := self._attempt(document):
            return stream
        raise pinned.changed()

    def close(self) -> None:
        """Close what is open."""
        self._path.clear()
        while self._open:
            self._open.pop().close()

    __del__ = close

    def _attempt(self, document: Document) -> BinaryIO | None:
        """None where what is open is not what was listed; it is closed then."""
        stream = None
        try:
            stream = self._member(document)
            return stream
        finally:
            if stream is None:
                self.close()

    def _member(self, document: Document) -> BinaryIO | None:
        places: list[str | Place] = [document.source_uri, *document.within[:-1]]
        path = [(place, inner.kind) for place, inner in zip(places, document.within, strict=True)]
        while self._path != path[: len(self._path)]:
            self._path.pop()
            self._open.pop().close()
        for place, kind in path[len(self._open) :]:
            stream = self._content(place)
            if stream is None:
                return None
            self._open.append(containers.open_as(kind, stream, self._settings, is_inner=bool(self._open)))
            self._path.append((place, kind))
        return self._open[-1].open(document.within[-1], document.source_etag)

    def _content(self, place: str | Place) -> BinaryIO | None:
        """The decompressed content of the object, or of a file in the innermost container that is open."""
        if isinstance(place, str):
            return content.open_document(place, self._settings.max_expansion)
        file = self._open[-1].open(place, None)
        return file and content.decompressed(file, place.name or "", self._settings.max_expansion)
