"""Documents that are ZIP archives of parts: those of Office and OpenDocument, and EPUB."""

import io
import posixpath
import zipfile
import zlib
from urllib.parse import unquote

from lxml import etree

from configs.errors import CorruptError, EncryptedError, TooLargeError
from configs.settings import InputSettings
from pipeline.formats import titles, xml_tree

EXPANSION_COUNTS_FROM_BYTES = 4 * 1024 * 1024
ENCRYPTED_FLAG = 1
RELATIONSHIP = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


class Package:
    """The parts of a document by their names. Names are looked up regardless of case, as Office does."""

    def __init__(self, data: bytes, what: str, settings: InputSettings) -> None:
        """`what` names the document in messages. Raises CorruptError, TooLargeError."""
        self.what = what
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise self.damaged(error) from error
        self._names = {name.lower().lstrip("/"): name for name in self._archive.namelist()}
        self._refuse_bomb(len(data), settings)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._names

    @property
    def names(self) -> list[str]:
        """As they stand in the archive."""
        return list(self._names.values())

    def read(self, name: str) -> bytes:
        """A part. Raises CorruptError if it is damaged or missing, EncryptedError if it is encrypted."""
        try:
            info = self._archive.getinfo(self._names[name.lower()])
            if info.flag_bits & ENCRYPTED_FLAG:
                raise EncryptedError(f"The {self.what} is protected by a password.")
            return self._archive.read(info)
        except KeyError as error:
            raise CorruptError(f"The {self.what} is damaged: it has no part {name}.") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError) as error:
            raise self.damaged(error) from error

    def root(self, name: str) -> etree._Element:
        """The root element of a part. Raises what `read` raises."""
        return xml_tree.root_of(self.read(name), f"{self.what}, in its part {name},")

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """What a part of an Office document refers to: the kind and the name of each other part, by id."""
        folder, file = posixpath.split(name)
        rels = posixpath.join(folder, "_rels", file + ".rels")
        if rels not in self:
            return {}
        return {
            relation.get("Id", ""): (
                relation.get("Type", "").rpartition("/")[2],
                resolved(name, relation.get("Target", "")),
            )
            for relation in self.root(rels).iter(RELATIONSHIP)
            if relation.get("TargetMode") != "External"
        }

    def related_of_kind(self, name: str, kind: str) -> str | None:
        """The first part of a kind that a part refers to."""
        return next((part for of_kind, part in self.related(name).values() if of_kind == kind and part in self), None)

    def damaged(self, error: Exception) -> CorruptError:
        """An error of a library as a sentence about the document."""
        return CorruptError(f"The {self.what} is damaged and cannot be opened ({type(error).__name__}: {error}).")

    def _refuse_bomb(self, packed: int, settings: InputSettings) -> None:
        # What zipfile reads of a part ends at the size that the archive gives for it.
        size = sum(info.file_size for info in self._archive.infolist())
        if size > max(settings.max_expansion * packed, EXPANSION_COUNTS_FROM_BYTES):
            raise TooLargeError(
                f"The {self.what} expands to more than {settings.max_expansion} times its size, the limit that "
                f"input.max_expansion sets: from {packed} to {size} bytes."
            )
        if size > max(settings.max_document_bytes, packed):
            raise TooLargeError(
                f"The {self.what} has {size} bytes after decompression, more than the {settings.max_document_bytes} "
                "that input.max_document_bytes allows."
            )


def resolved(name: str, target: str) -> str:
    """The name of a part that another refers to."""
    path = unquote(target.partition("#")[0])
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(name), path)).lstrip("/")


def core_title(package: Package) -> str | None:
    """The title in the properties of an Office document, if it is one."""
    part = package.related_of_kind("", "core-properties") or "docProps/core.xml"
    if part not in package:
        return None
    try:
        found = next((each for each in package.root(part).iter() if xml_tree.local_name(each) == "title"), None)
    except CorruptError:
        return None
    return titles.checked(found.text) if found is not None else None
