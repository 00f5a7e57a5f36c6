"""`python -m benchmarks.key_sentences TEXT [megabytes=10,100]`: what key sentences cost, and whether memory grows.

Prints JSON: for each size, megabytes of text per CPU-second, sentences, peak memory of a process that does nothing
else, and bytes of the state that a run would store. The text is the document, again and again, with names between its
lines that are nobody else's, so that words never cease to be new. Each size is read in a fresh process.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.sentences.key_sentences import KeySentences

MEGABYTE = 1_000_000
PIECE = 2**16
NEW_EVERY = 40
"""Lines between those that have a new word."""


def pieces(text: str, num_bytes: int) -> Iterator[str]:
    """So much text."""
    lines, done, number = text.splitlines(keepends=True), 0, 0
    waiting: list[str] = []
    size = 0
    while done < num_bytes:
        for line in lines:
            number += 1
            if number % NEW_EVERY == 0:
                line = (
                    f"In the year {number} the name Zor{number:x}ka was given to someone by the people here.\n" + line
                )
            waiting.append(line)
            size += len(line.encode())
            if size > PIECE or done + size >= num_bytes:
                yield "".join(waiting)
                done, size, waiting = done + size, 0, []
            if done >= num_bytes:
                return


def read_one(path: Path, megabytes: int) -> dict[str, float]:
    """In this process."""
    text = path.read_text(encoding="utf-8")
    keys = KeySentences(120, path.stem)
    seconds, num_bytes = 0.0, 0
    for piece in pieces(text, megabytes * MEGABYTE):
        num_bytes += len(piece.encode())
        started = time.process_time()
        keys.feed(piece)
        seconds += time.process_time() - started
    started = time.process_time()
    chosen = keys.finish().select()
    seconds += time.process_time() - started
    return {
        "megabytes": num_bytes / MEGABYTE,
        "cpu_seconds": round(seconds, 1),
        "megabytes_per_cpu_second": round(num_bytes / MEGABYTE / seconds, 2),
        "sentences": keys.num_sentences,
        "chosen": len(chosen),
        "peak_rss_bytes": _peak_bytes(),
        "state_bytes": len(keys.to_bytes()),
    }


def _peak_bytes() -> int:
    """Not `ru_maxrss`, in which a child begins with what its parent had."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def main() -> None:
    path, *rest = sys.argv[1:]
    if rest and rest[0].startswith("one="):
        print(json.dumps(read_one(Path(path), int(rest[0].removeprefix("one=")))))
        return
    # It imports torch, whose memory would hide what is measured.
    from benchmarks import measure

    sys.argv[1:] = rest
    sizes = [int(size) for size in measure.arguments(megabytes="10,100")["megabytes"].split(",")]
    command = [sys.executable, "-m", "benchmarks.key_sentences", path]
    found = [json.loads(subprocess.check_output([*command, f"one={size}"])) for size in sizes]
    measure.publish("key_sentences", text=Path(path).name, runs=found)


if __name__ == "__main__":
    main()
