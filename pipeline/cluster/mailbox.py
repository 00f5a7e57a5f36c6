"""Short messages between a run's driver and its actors, in the tables of Ray's head: no process of their own, and no
request to an object store. They are lost with the head, and so is the run then; what must last goes to the ledger."""

from hashlib import sha256

import ray
from ray.experimental import internal_kv

NAMESPACE = b"longhaul"


class Mailbox:
    """That of a run, for whoever is in the cluster. A message takes a millisecond or two, and while the head does not
    answer, a minute; then Ray ends this process. Raises what Ray does."""

    def __init__(self, uri: str) -> None:
        """`uri` is that of the run's folder, which no other run has."""
        self._prefix = sha256(uri.encode()).hexdigest()[:16].encode() + b"/"

    def put(self, name: str, message: bytes) -> None:
        """Overwrite the message of this name."""
        internal_kv._internal_kv_put(self._prefix + name.encode(), message, namespace=NAMESPACE)

    def get(self, name: str) -> bytes | None:
        """The message of this name, if there is one."""
        message: bytes | None = internal_kv._internal_kv_get(self._prefix + name.encode(), namespace=NAMESPACE)
        return message

    def all(self, prefix: str) -> list[bytes]:
        """Messages whose names begin so."""
        names = internal_kv._internal_kv_list(self._prefix + prefix.encode(), namespace=NAMESPACE)
        found = [internal_kv._internal_kv_get(name, namespace=NAMESPACE) for name in names]
        return [message for message in found if message is not None]

    def clear(self) -> None:
        """Delete all messages of the run."""
        internal_kv._internal_kv_del(self._prefix, del_by_prefix=True, namespace=NAMESPACE)


def of_run(uri: str) -> Mailbox | None:
    """The run's mailbox; None outside of Ray."""
    return Mailbox(uri) if ray.is_initialized() else None
