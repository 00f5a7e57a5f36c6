"""Short messages between a run's driver and its actors, in the tables of Ray's head: no process of their own, and no
request to an object store. They are lost with the head, and so is the run then; what must last goes to the ledger."""

from hashlib import sha256
from typing import Any

import ray
from ray.experimental import internal_kv

NAMESPACE = b"longhaul"
TIMEOUT_SECONDS = 5.0


class Mailbox:
    """That of a run, for whoever is in the cluster. A call takes a millisecond or two; while the head does not answer,
    it raises what Ray does, after five seconds."""

    def __init__(self, uri: str) -> None:
        """`uri` is that of the run's folder, which no other run has."""
        self._prefix = sha256(uri.encode()).hexdigest()[:16].encode() + b"/"
        self._client: Any = internal_kv.internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]  # ray annotates half

    def put(self, name: str, message: bytes) -> None:
        """Overwrite the message of this name."""
        self._client.internal_kv_put(self._prefix + name.encode(), message, True, NAMESPACE, timeout=TIMEOUT_SECONDS)

    def get(self, name: str) -> bytes | None:
        """The message of this name, if there is one."""
        message: bytes | None = self._client.internal_kv_get(
            self._prefix + name.encode(), NAMESPACE, timeout=TIMEOUT_SECONDS
        )
        return message

    def all(self, prefix: str) -> list[bytes]:
        """Messages whose names begin so."""
        names = self._client.internal_kv_keys(self._prefix + prefix.encode(), NAMESPACE, timeout=TIMEOUT_SECONDS)
        found: dict[bytes, bytes] = self._client.internal_kv_multi_get(names, NAMESPACE, timeout=TIMEOUT_SECONDS)
        return list(found.values())

    def clear(self) -> None:
        """Delete all messages of the run."""
        self._client.internal_kv_del(self._prefix, True, NAMESPACE, timeout=TIMEOUT_SECONDS)


def of_run(uri: str) -> Mailbox | None:
    """The run's mailbox; None outside of Ray."""
    return Mailbox(uri) if ray.is_initialized() else None
