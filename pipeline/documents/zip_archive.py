"""ZIP archives: each file in one is a document."""

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any, BinaryIO, NoReturn

from configs.errors import CorruptError, DocumentError, EncryptedError, TooLargeError, UndecodableError
from configs.settings import InputSettings
from pipeline.documents import bookkeeping, compression
from pipeline.documents.container import Container, Member
from pipeline.schemas.document import Place

ENCRYPTED, UTF_8 = 0x1, 0x800
"""Flags of an entry."""
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
METHOD_NAMES = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd"}
LOCAL_HEADER_BYTES = 30
"""And the name, which the directory has as well."""
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error)
UNFORESEEN = (NotImplementedError, IndexError, KeyError, OverflowError)
OFFICE_PARTS = {"word/", "ppt/", "xl/", "visio/"}
DOCUMENT_MIMETYPES = (b"application/epub+zip", b"application/vnd.oasis.opendocument.")
MIMETYPE_BYTES = 100


class ZipArchive(Container):
    """The file that a name stands for is known by its checksum and size, which the archive's directory has."""

    def __init__(self, stream: BinaryIO, settings: InputSettings) -> None:
        """`stream` must be seekable. Raises CorruptError."""
        self._settings = settings
        try:
            self._size = stream.seek(0, io.SEEK_END)
            self._zip = zipfile.ZipFile(stream)
        except (*BROKEN, *UNFORESEEN) as error:
            raise CorruptError(
                f"The ZIP archive is damaged or cut short: its directory cannot be read ({error})."
            ) from error
        self._stream = stream

    def is_document(self) -> bool:
        """Whether it is one document, of Office, OpenDocument or EPUB, by its parts."""
        names = self._zip.NameToInfo
        if "META-INF/container.xml" in names or self._mimetype().startswith(DOCUMENT_MIMETYPES):
            return True
        return "[Content_Types].xml" in names and any(name.startswith(part) for name in names for part in OFFICE_PARTS)

    def members(self) -> Iterator[Member]:
        """As `Container.members`."""
        end, entries = 0, sorted(self._zip.infolist(), key=lambda entry: entry.header_offset)
        for number, entry in enumerate(entries, 1):
            name = _name(entry)
            if _is_file(entry) and not bookkeeping.is_passed_over(name, entry.file_size):
                place = Place("zip", name, entry.header_offset, entry.compress_size)
                error = self._problem(entry, entry.header_offset < end)
                yield Member(name, f"-entry{number}", place, entry.compress_size, error=error)
            end = entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size

    def open(self, place: Place, etag: str | None) -> BinaryIO | None:
        """As `Container.open`."""
        found = [entry for entry in self._by_name[place.name or ""] if etag in (None, _etag(entry))]
        entry = next((entry for entry in found if entry.header_offset == place.offset), next(iter(found), None))
        if entry is None:
            return None
        if problem := self._problem(entry):
            raise problem
        return self._opened(entry)

    def content(self, member: Member) -> BinaryIO:
        """As `Container.content`."""
        opened = self.open(member.place, None)
        assert opened is not None
        return opened

    def etag(self, member: Member) -> str:
        """As `Container.etag`."""
        place = member.place
        return next(_etag(each) for each in self._by_name[place.name or ""] if each.header_offset == place.offset)

    def close(self) -> None:
        """As `Container.close`."""
        self._zip.close()
        self._stream.close()

    @cached_property
    def _by_name(self) -> dict[str, list[zipfile.ZipInfo]]:
        found = defaultdict(list)
        for entry in self._zip.infolist():
            found[_name(entry)].append(entry)
        return found

    def _mimetype(self) -> bytes:
        """What the file says that OpenDocument has first."""
        with suppress(*BROKEN, *UNFORESEEN, RuntimeError), self._zip.open("mimetype") as file:
            return file.read(MIMETYPE_BYTES)
        return b""

    def _opened(self, entry: zipfile.ZipInfo) -> BinaryIO:
        try:
            return io.BufferedReader(_File(self._zip.open(entry)), compression.CHUNK_BYTES)
        except (*BROKEN, *UNFORESEEN, RuntimeError) as error:
            _refuse(error)

    def _problem(self, entry: zipfile.ZipInfo, overlaps: bool = False) -> DocumentError | None:
        if entry.flag_bits & ENCRYPTED:
            return EncryptedError("The file in the archive is protected by a password.")
        if entry.compress_type not in METHODS:
            method = METHOD_NAMES.get(entry.compress_type, f"number {entry.compress_type}")
            return UndecodableError(
                f"The file in the archive is packed with the method {method}, which cannot be unpacked here; unpack "
                "the archive."
            )
        if overlaps:
            return CorruptError("The file in the archive overlaps another one, as in a bomb.")
        most = self._settings.max_expansion * min(entry.compress_size, self._size)
        if entry.file_size > max(most, compression.EXPANSION_COUNTS_FROM_BYTES):
            return TooLargeError(
                f"The file in the archive expands to more than {self._settings.max_expansion} times its size, the "
                f"limit that input.max_expansion sets: from {entry.compress_size} to {entry.file_size} bytes."
            )
        return None


class _File(io.RawIOBase):
    """A file in an archive, with the errors of the library translated. Ends at the size that the directory has, and
    there its checksum is compared."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return int(self._file.seek(offset, whence))
        except (*BROKEN, *UNFORESEEN) as error:
            _refuse(error)

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except (*BROKEN, *UNFORESEEN) as error:
            _refuse(error)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """As `Container.close`."""
        self._file.close()
        super().close()


def _refuse(error: Exception) -> NoReturn:
    raise CorruptError(f"The file in the archive is damaged ({type(error).__name__}: {error}).") from error


def _is_file(entry: zipfile.ZipInfo) -> bool:
    """Not a folder, a link or a device."""
    mode = stat.S_IFMT(entry.external_attr >> 16)
    return not _name(entry).endswith("/") and mode in (0, stat.S_IFREG)


def _etag(entry: zipfile.ZipInfo) -> str:
    return f"crc32:{entry.CRC:08x}-{entry.file_size}"


def _name(entry: zipfile.ZipInfo) -> str:
    """In UTF-8 where it is valid: many programs write that without saying so. Some of Windows write its slashes."""
    name = entry.filename
    if not entry.flag_bits & UTF_8:
        with suppress(ValueError):
            name = name.encode("cp437").decode("utf-8")
    return (name if "/" in name else name.replace("\\", "/")).removeprefix("./")
