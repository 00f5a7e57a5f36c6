"""Which run a command means: the same model, prompts and settings about the same sources, into one output.

OUTPUT/_runs/_commands/COMMAND/0004.json    the id of the fourth run of a command; the newest counts

Made only where there was none, and before anything else of a new run: of two starts at the same moment, in whatever
order they write, one makes it, and the other learns of the first one's run.
"""

import json
from hashlib import sha256

from configs.errors import ConfigError
from pipeline.storage import objects

FOLDER = "_commands"
"""Beside the runs, none of which can have this name."""


class Command:
    """Looks at once at what is there; `claim` makes the next."""

    def __init__(self, output_uri: str, settings_sha256: str, sources: list[str]) -> None:
        digest = sha256(json.dumps([settings_sha256, *sources]).encode()).hexdigest()[:32]
        self._folder = objects.join(output_uri, "_runs", FOLDER, digest)
        self._number, self._run_id = self._newest()

    @property
    def run_id(self) -> str | None:
        """Of the newest run, or None where there was none."""
        return self._run_id

    def claim(self, run_id: str, *, whoever_else: bool = False) -> None:
        """Make `run_id` the command's run.

        Raises ConfigError where another start has made another run meanwhile, unless this one's id is one that the user
        chose: then it resumes that one, `whoever_else` is at work.
        """
        while True:
            number, newest = self._newest()
            if newest == run_id:
                return
            if number == self._number or whoever_else:
                if self._make(number + 1, run_id):
                    return
                number, newest = self._newest()
            if not whoever_else:
                raise ConfigError(
                    f"the same command was started a moment before, as run.id = {newest!r}: leave it to that, or give "
                    "another run.id"
                )

    def _make(self, number: int, run_id: str) -> bool:
        if not objects.create(self._uri(number), json.dumps({"run_id": run_id}).encode()):
            return False
        numbers = self._numbers()
        if max(numbers) > number:
            # Who read the list long ago finds the place free again that others have passed.
            objects.delete(self._uri(number))
            return False
        for older in numbers:
            if older < number:
                objects.delete(self._uri(older))
        return True

    def _newest(self) -> tuple[int, str | None]:
        """With its number; 0 and None where there was none."""
        while number := max(self._numbers(), default=0):
            try:
                return number, str(json.loads(objects.read_bytes(self._uri(number)))["run_id"])
            except FileNotFoundError:
                continue  # just replaced by a newer one
        return 0, None

    def _numbers(self) -> list[int]:
        files = objects.list_files(self._folder, ".json")
        return [int(file.rsplit("/", 1)[1].removesuffix(".json")) for file in files]

    def _uri(self, number: int) -> str:
        return objects.join(self._folder, f"{number:04d}.json")
