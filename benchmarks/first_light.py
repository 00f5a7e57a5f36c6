"""`python -m benchmarks.first_light [section ...]`: whether the kernels compute what they should on this GPU.

For whoever has a GPU first. Needs torch, triton, structlog and pydantic alone. With `--small` it runs on a small model,
without a GPU in Triton's interpreter (`TRITON_INTERPRET=1`). Prints one JSON object, what was predicted beside what was
measured, and exits with 1 where a check failed.

Sections: races, slots, graphs, accuracy, engine, metering; and for profilers and sanitizers, by name: one_pass, tiny.
"""

import json
import sys
import time
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
import torch

from benchmarks import gpu
from models.backends import engines
from models.backends.kernels import Wanted
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Pass, Prompt, Request, Sampling
from models.kernels.backbone import FastPath
from models.kernels.tiling import tiling_of
from models.mamba.architecture import Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM
from models.state import State

SECTIONS = ("races", "slots", "graphs", "accuracy", "engine", "metering")
FOR_TOOLS = ("one_pass", "tiny")
FULL = ("ssm", "k", "v")
"""The tensors of a state whose numbers can be subtracted: phases come round."""
Report = dict[str, object]
PREDICTED = {
    "prefill_tokens_per_second": 192_000,
    "widest_decode_step_ms": 4.1,
    "widest_decode_step_ms, one sampled": 4.4,
}
"""Prefill as measured before passes ran ahead, which hides the host's 1 to 4 ms of 85 where it was not hidden yet; for
64 answers the bytes of weights and states at 79 % of the rate of a copy."""


def main(words: list[str]) -> None:
    is_small = "--small" in words
    chosen = [word for word in words if word != "--small"] or list(SECTIONS)
    if unknown := sorted(set(chosen) - {*SECTIONS, *FOR_TOOLS}):
        raise SystemExit(f"no section {unknown[0]}: choose from {', '.join(SECTIONS + FOR_TOOLS)}")
    if not is_small and not torch.cuda.is_available():
        raise SystemExit(f"torch {torch.__version__} sees no CUDA device: --small tries the sections without one")
    light = FirstLight(is_small)
    report: Report = {"benchmark": "first_light", "hardware": gpu.hardware() if torch.cuda.is_available() else "none"}
    for name in chosen:
        started = time.monotonic()
        report[name] = getattr(light, name)()
        print(f"{name}: {time.monotonic() - started:.0f} s", json.dumps(report[name]), file=sys.stderr, flush=True)
    report["failed"] = light.failed
    print(json.dumps(report, indent=2))
    sys.exit(bool(light.failed))


class FirstLight:
    """The sections; what is wrong is named in `failed`."""

    def __init__(self, is_small: bool) -> None:
        self.is_small, self.device = is_small, "cuda" if torch.cuda.is_available() else "cpu"
        self.kernels: Wanted = "triton"
        """By name also in the interpreter, where `auto` would take plain PyTorch."""
        self.failed: list[str] = []

    def races(self) -> Report:
        """One ragged pack again and again from equal states: bitwise the same each time, and everything is written.

        With every count of segments modulo 4, for spans of 64 tokens and the default; first calls are timed, since one
        that compiles anew takes over 200 ms.
        """
        rounds, counts = (2, (3, 4)) if self.is_small else (50, range(31, 37))
        model, report = self._model(2), {}
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = True
        for least in (64, 512):
            fast = FastPath(model, replace(tiling_of(torch.device(self.device)), least_span=least, programs=10**6))
            for count in counts:
                bounds = [0, *accumulate(int(n) for n in np.random.default_rng(count).integers(1, 700, count))]
                if self.is_small:
                    bounds = [0, *accumulate([130, 1, 64, 5][:count])]
                tokens = self._tokens(bounds[-1], model)
                start = self._used(model, count)
                first, waits, same = None, [], True
                for _ in range(rounds):
                    slots = start.map(torch.clone)
                    began = time.perf_counter()
                    hidden = fast.hidden_(tokens, bounds, slots, range(count))
                    self._wait()
                    waits.append(time.perf_counter() - began)
                    parts = [hidden, *slots.tensors.values()]
                    first = first or [part.clone() for part in parts]
                    same &= all(torch.equal(one, other) for one, other in zip(parts, first, strict=True))
                    same &= all(bool(torch.isfinite(part).all()) for part in parts)
                report[f"spans of {least}, {count} segments"] = {"same": same, "first_call_s": round(waits[0], 3)}
                self._check(same, f"races: {count} segments in spans of {least} differ or are not finite")
        torch.use_deterministic_algorithms(False)
        return report

    def slots(self) -> Report:
        """Copying rows of a table of more than 2**31 elements."""
        rows, layers = (6, 2) if self.is_small else (256, 24)
        shape = (layers, rows, 4, 8, 8) if self.is_small else (layers, rows, 64, 64, 128)
        table = torch.empty(shape, device=self.device)
        state = State({name: table for name in ("ssm",)})
        marks = [0, rows // 2 - 1, rows - 1]
        for mark in marks:
            table[:, mark] = mark + 1
        taken = state.gather(marks[::-1]).tensors["ssm"]
        right = all(bool((taken[:, place] == mark + 1).all()) for place, mark in enumerate(marks[::-1]))
        state.scatter_([1, rows - 2], State({"ssm": torch.stack([table[:, 0] * 0 + 7, table[:, 0] * 0 + 9], 1)}))
        right &= bool((table[:, 1] == 7).all() and (table[:, rows - 2] == 9).all())
        right &= all(bool((table[:, mark] == mark + 1).all()) for mark in marks)
        self._check(right, "slots: rows of a large table are not copied rightly")
        return {"elements": table.numel(), "right": right}

    def graphs(self) -> Report:
        """Decoding by graphs against decoding without, between passes of prefill; rows that are not named stay."""
        model, sizes = self._model(2), (1, 3) if self.is_small else (1, 3, 5, 128)
        fast, report = FastPath(model), {}
        num_slots = max(sizes) + 3
        slots = self._used(model, num_slots)
        for size in sizes:
            rows = np.random.default_rng(size).permutation(num_slots)[:size].tolist()
            eager, before = slots.map(torch.clone), slots.map(torch.clone)
            tokens = self._tokens(size, model)
            index = torch.tensor(rows, dtype=torch.int32, device=self.device)
            expected = fast._logits(tokens, eager, index).clone()
            actual = fast.decode_(tokens, slots, rows).clone()
            error = _error(actual, expected)
            others = sorted(set(range(num_slots)) - set(rows))
            untouched = all(torch.equal(slots[name][:, others], before[name][:, others]) for name in slots)
            moved = max(_error(slots[name], eager[name]) for name in slots)
            report[f"{size} rows"] = {"logits": error, "states": moved, "others_untouched": untouched}
            self._check(untouched and error < 0.02 and moved < 0.02, f"graphs: decoding {size} rows")
            fast.prefill_(tokens, [*range(size + 1)], slots, rows, tokens[:0])
        return report

    def accuracy(self) -> Report:
        """The kernels in bf16 against plain PyTorch in fp32 and in bf16, with the same weights, and in pieces."""
        length = 200 if self.is_small else 4096
        narrow = self._model(2 if self.is_small else 12)
        wide = _copy(narrow, torch.float32)
        tokens, bounds = self._tokens(length, narrow), [0, length]
        at = torch.arange(0, length, max(1, length // 512), device=self.device)
        expected, exact_state = wide.prefill(tokens, bounds, wide.empty_state(1), at)
        theirs, their_state = narrow.prefill(tokens, bounds, narrow.empty_state(1), at)
        slots, pieces = narrow.empty_state(1), narrow.empty_state(1)
        fast = FastPath(narrow)
        ours = fast.prefill_(tokens, bounds, slots, [0], at)
        for part in tokens.split(max(1, length // 11)):
            last = fast.prefill_(part, [0, len(part)], pieces, [0], torch.tensor([len(part) - 1], device=self.device))
        end = fast.prefill_(tokens, bounds, narrow.empty_state(1), [0], torch.tensor([length - 1], device=self.device))
        report = {
            "kernels_against_fp32": _error(ours, expected),
            "plain_bf16_against_fp32": _error(theirs, expected),
            "states_of_kernels_against_fp32": {name: _error(slots[name], exact_state[name]) for name in FULL},
            "states_of_plain_bf16_against_fp32": {name: _error(their_state[name], exact_state[name]) for name in FULL},
            "last_logits_in_pieces_against_whole": _error(last, end),
            "predicted": "3e-3 to 1e-2 a layer; the kernels no worse than 1.5 times plain bf16",
        }
        right = report["kernels_against_fp32"] < max(0.03, 1.5 * report["plain_bf16_against_fp32"])
        self._check(bool(right), "accuracy: the kernels differ from fp32 by more than rounding")
        return report

    def engine(self) -> Report:
        """Ragged documents through `Engine.step`, an answer each; a retry at temperature 0.7 among greedy answers."""
        model = self._model(2 if self.is_small else 24)
        rng = np.random.default_rng(0)
        many, slots, budget, longest = (5, 3, 128, 200) if self.is_small else (96, 64, 16_384, 65_536)
        answer = 4 if self.is_small else 64
        lengths = np.exp(rng.uniform(np.log(longest / 64), np.log(longest), many)).astype(int)
        report: Report = {"documents": many, "tokens": int(lengths.sum()), "predicted_for_an_H100": PREDICTED}
        for name, step_tokens, temperature in (("greedy", budget, 0.0), ("one sampled", budget, 0.7)):
            kept = lengths if name == "greedy" else np.maximum(lengths // 64, 64)
            engine = engines.around(model, (), slots, step_tokens, kernels=self.kernels)
            self._warm_up(engine)
            for place, length in enumerate(kept):
                sampling = Sampling(answer, temperature=temperature if place == 3 else 0.0)
                feed = ArrayFeed(rng.integers(0, model.config.vocab_size, length))
                engine.submit(Request(place, feed, (Prompt((1, 2, 3), sampling),)))
            report[name] = _spent(engine)
            del engine
            self._wait()
        return report

    def metering(self) -> Report:
        """A pass of 16K tokens, one of 64, and a copy of a state: by the device's clock each takes its own time, and
        the host has the first two back before the device has done them."""
        model = self._model(2 if self.is_small else 24)
        engine = engines.around(model, (), 4, 16_384, kernels=self.kernels)
        self._warm_up(engine)
        ends, asked_s = [time.monotonic_ns()], []
        passes = []
        for name, length in (("long", 256 if self.is_small else 16_384), ("short", 64)):
            engine.submit(Request(name, ArrayFeed(np.ones(length, dtype=np.int64)), (Prompt((1, 2, 3), Sampling(4)),)))
            began = time.perf_counter()
            passes.append(_Pass(engine.step()))
            asked_s.append(time.perf_counter() - began)
        engine.read_state("short")
        copied_ns = time.monotonic_ns()
        ends += [each.ended_ns() for each in passes] + [copied_ns]
        long, short, copy = (round((stop - start) / 1e9, 5) for start, stop in pairwise(ends))
        if not self.is_small:
            self._check(short < 0.2 * long, "metering: a short pass pays for the long one before it")
            self._check(copy < 0.5 * long, "metering: a snapshot pays for the pass before it")
            self._check(asked_s[0] < 0.5 * long, "metering: the host waits for the first pass that it asks for")
        return {"long_s": long, "short_s": short, "read_state_s": copy, "first_asked_for_s": round(asked_s[0], 5)}

    def one_pass(self) -> Report:
        """16K tokens of one document and 32 of 512 in two layers, then decoding at 128: for a profiler."""
        model = self._model(2)
        fast, slots = FastPath(model), model.empty_state(128)
        count = 256 if self.is_small else 16_384
        tokens = self._tokens(count, model)
        for bounds in ([0, count], [*range(0, count + 1, count // 32)]):
            fast.prefill_(tokens, bounds, slots, range(len(bounds) - 1), tokens[:0])
        fast._logits(tokens[:128], slots, torch.arange(128, dtype=torch.int32, device=self.device))
        self._wait()
        return {}

    def tiny(self) -> Report:
        """200 tokens in two layers of the least size: for a sanitizer."""
        model = gpu.random_model(small_config(), self.device)
        fast = FastPath(model, replace(tiling_of(torch.device(self.device)), least_span=64, programs=10**6))
        slots, tokens = model.empty_state(3), self._tokens(200, model)
        fast.prefill_(tokens, [0, 150, 151, 200], slots, [2, 0, 1], tokens[:0])
        fast._logits(tokens[:3], slots, torch.tensor([1, -1, 2], dtype=torch.int32, device=self.device))
        self._wait()
        return {}

    def _model(self, layers: int) -> MambaLM:
        config = small_config() if self.is_small else gpu.published().model_copy(update={"n_layer": layers})
        return gpu.random_model(config, self.device)

    def _tokens(self, count: int, model: MambaLM) -> torch.Tensor:
        generator = torch.Generator().manual_seed(count)
        return torch.randint(0, model.config.vocab_size, (count,), generator=generator).to(self.device)

    def _used(self, model: MambaLM, count: int) -> State:
        """States of documents of different lengths."""
        lengths = [3 + place % 9 for place in range(count)]
        tokens = self._tokens(sum(lengths), model)
        return model.prefill(tokens, [0, *accumulate(lengths)], model.empty_state(count), tokens[:0])[1]

    def _warm_up(self, engine: Engine) -> None:
        # In the interpreter it would take minutes, and there is nothing to warm.
        if not self.is_small:
            engine.warm_up()

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.failed.append(otherwise)


def small_config() -> MambaConfig:
    mixer = Mamba3Config(d_state=64, headdim=32)
    return MambaConfig(d_model=32, d_intermediate=40, n_layer=2, vocab_size=61, ssm_cfg=mixer)


def _copy(model: MambaLM, dtype: torch.dtype) -> MambaLM:
    with torch.device(model.lm_head.weight.device):
        copy = MambaLM(model.config)
    for own, other in zip(copy.parameters(), model.parameters(), strict=True):
        own.data = other.data.to(dtype)
    return copy.eval().requires_grad_(False)


def _error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    actual, expected = actual.double(), expected.double()
    return float(f"{((actual - expected).norm() / expected.norm().clamp(min=1e-30)).item():.3g}")


class _Pass:
    """With its end: by the device's clock, or where it has ended already, now."""

    def __init__(self, done: Pass) -> None:
        self.done, self._seen_ns = done, time.monotonic_ns()

    def ended_ns(self) -> int:
        ended = self.done.mark.ended_ns() if self.done.mark else None
        return self._seen_ns if ended is None else ended


def _spent(engine: Engine) -> Report:
    """Seconds and tokens by kind of pass, each from the end of the one before, and how long each decoding step took."""
    seconds, tokens, steps = {"prefill": 0.0, "decode": 0.0, "wait": 0.0}, {"prefill": 0, "decode": 0, "wait": 0}, []
    began = last = time.monotonic_ns()
    passes = []
    while engine.busy:
        passes.append(_Pass(engine.step()))
    for each in passes:
        done, end = each.done, max(last, each.ended_ns())
        took, last = (end - last) / 1e9, end
        seconds[done.kind] += took
        tokens[done.kind] += sum(done.shares.values())
        if done.kind == "decode":
            steps.append((took, len(done.shares)))
    total = (time.monotonic_ns() - began) / 1e9
    widest = [took for took, count in steps if count >= 0.9 * max(count for _, count in steps)]
    return {
        "seconds": round(total, 3),
        **{f"{kind}_s": round(value, 3) for kind, value in seconds.items()},
        "prefill_tokens_per_second": round(tokens["prefill"] / max(seconds["prefill"], 1e-9)),
        "decode_tokens_per_second": round(tokens["decode"] / max(seconds["decode"], 1e-9)),
        "widest_decode_step_ms": round(1e3 * float(np.median(widest)), 2) if widest else None,
        "widest_decode_rows": max((count for _, count in steps), default=0),
    }


if __name__ == "__main__":
    with torch.inference_mode():
        main(sys.argv[1:])
