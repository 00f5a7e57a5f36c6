"""`sample://python-reference/`: documents that exist on every machine, since CPython ships its language reference.

A demo needs neither files nor a network, on any node of any cluster.
"""

import io
from hashlib import blake2b
from pydoc_data.topics import topics
from typing import Any

import fsspec

COLLECTION = "python-reference"


class Samples(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec publishes no types
    """A read-only file system of one directory: a text file for each topic."""

    protocol = "sample"

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = str(self._strip_protocol(path))
        if path in ("", "/"):
            found = [self._directory()]
        elif path == COLLECTION:
            found = [self._file(name) for name in topics]
        else:
            found = [self.info(path)]
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = str(self._strip_protocol(path))
        if path == COLLECTION:
            return self._directory()
        folder, _, name = path.removesuffix(".txt").rpartition("/")
        if folder != COLLECTION or name not in topics:
            raise FileNotFoundError(path)
        return self._file(name)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> io.BytesIO:
        if mode != "rb":
            raise PermissionError("samples are read-only")
        self.info(path)
        return io.BytesIO(topics[path.rpartition("/")[2].removesuffix(".txt")].encode())

    def _directory(self) -> dict[str, Any]:
        return {"name": COLLECTION, "size": 0, "type": "directory"}

    def _file(self, name: str) -> dict[str, Any]:
        text = topics[name].encode()
        etag = blake2b(text, digest_size=16).hexdigest()
        return {"name": f"{COLLECTION}/{name}.txt", "size": len(text), "type": "file", "ETag": etag}
