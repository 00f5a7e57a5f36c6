"""`python -m benchmarks.gpu [section ...]`: how fast a 1.5B Mamba-3 reads and writes on this GPU, against what limits.

Random weights, bf16. Prints one JSON object, and progress on stderr; meant to take under 8 minutes on an H200.
Times are the median of repeated runs between CUDA events, after a warm-up. Limits: floating-point operations over the
measured rate of a large matrix product, bytes over the measured rate of a copy.

Sections: ceilings, prefill, tuning, decode, memory, pieces, peer, mimo. `ceilings` always runs.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import ModelError
from models.kernels import official, prefill
from models.kernels.backbone import FastPath
from models.kernels.spans import Spans
from models.kernels.tiling import Launch, Tiling, tiling_of
from models.mamba.architecture import Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM
from models.state import State

SECTIONS = ("ceilings", "prefill", "tuning", "decode", "memory", "pieces", "peer", "mimo")
PASS_TOKENS = 32_768
MILLION = 1_048_576
Report = dict[str, object]


def main(chosen: list[str]) -> None:
    if not torch.cuda.is_available():
        raise SystemExit(f"benchmarks.gpu needs a CUDA device; torch {torch.__version__} sees none")
    if unknown := sorted(set(chosen) - set(SECTIONS)):
        raise SystemExit(f"no section {unknown[0]}: choose from {', '.join(SECTIONS)}")
    bench = Bench()
    report: Report = {"benchmark": "gpu", "hardware": hardware(), "model": bench.described(), **bench.ceilings()}
    for name in SECTIONS[1:]:
        if not chosen or name in chosen:
            started = time.monotonic()
            report[name] = getattr(bench, name)()
            print(f"{name}: {time.monotonic() - started:.0f} s", json.dumps(report[name]), file=sys.stderr, flush=True)
    print(json.dumps(report, indent=2))


def hardware() -> Report:
    import triton

    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "torch": torch.__version__,
        "triton": triton.__version__,
    }


def published(is_mimo: bool = False) -> MambaConfig:
    """The published 1.5B shapes."""
    mixer = Mamba3Config(is_mimo=is_mimo, chunk_size=16 if is_mimo else 64)
    return MambaConfig(
        d_model=2048,
        d_intermediate=3824 if is_mimo else 4096,
        n_layer=24,
        vocab_size=128_256,
        ssm_cfg=mixer,
        pad_vocab_size_multiple=16,
    )


def random_model(config: MambaConfig, device: str = "cuda") -> MambaLM:
    """Weights that keep activations near 1, so that no product is fed zeros or infinities."""
    torch.manual_seed(0)
    with torch.device(device):
        model = MambaLM(config).initialize()
    for name, parameter in model.named_parameters():
        if not name.endswith(("dt_bias", "B_bias", "C_bias", ".D", "mimo_x", "mimo_z", "mimo_o")):
            parameter.data = parameter.data.to(torch.bfloat16)
    if config.tie_embeddings:
        model.lm_head.weight = model.backbone.embedding.weight
    return model.eval().requires_grad_(False)


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median of the runs between two events, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop) / 1000)
    return sorted(times)[repeats // 2]


def tokens_of(count: int, vocab_size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randint(0, vocab_size, (count,), generator=generator, device="cuda")


def flops_per_token(model: MambaLM, chunk_tokens: int = 64) -> int:
    """Of prefill without logits: 2 per weight of a projection, and the recurrence's products in chunks.

    Per head and token, QR rows: scores and outputs within the chunk 2 QR (N + P) for each of R rows, the state's
    update and reading 2 * 2 N P R.
    """
    config, mixer = model.config, model.config.ssm_cfg
    weights = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2)
    within = 2 * chunk_tokens * (mixer.d_state + mixer.headdim) * mixer.rank
    across = 4 * mixer.d_state * mixer.headdim * mixer.rank
    return 2 * weights + config.n_layer * config.num_heads * (within + across)


class Bench:
    def __init__(self) -> None:
        self.model = random_model(published())
        self.fast = FastPath(self.model)
        self.vocab_size = self.model.config.vocab_size
        self.matmul = self.copy = 0.0

    def described(self) -> Report:
        parameters = sum(p.numel() for p in self.model.parameters())
        return {
            "shape": "mamba3-siso-1.5b, random weights, bfloat16",
            "parameters": parameters,
            "state_mib_per_document": round(self.model.empty_state(1).nbytes / 2**20, 1),
            "gflop_per_token": round(flops_per_token(self.model) / 1e9, 3),
        }

    def ceilings(self) -> Report:
        left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        self.matmul = 2 * 8192**3 / seconds(lambda: left @ right, 10)
        source = torch.randn(2**30, device="cuda")
        target = torch.empty_like(source)
        self.copy = 2 * source.nbytes / seconds(lambda: target.copy_(source), 10)
        return {"matmul_tflops": round(self.matmul / 1e12, 1), "copy_tb_per_second": round(self.copy / 1e12, 2)}

    def prefill(self) -> Report:
        """Packs of equal documents in passes of 32K tokens, a ragged one, and one document of a million alone."""
        packs = {
            "1K documents": [1024] * 32,
            "16K documents": [16_384] * 2,
            "128K documents, 8 at once": [4096] * 8,
            "ragged": [20_000, 8000, 3000, 1200, 400, 100, 63, 5],
            "one document of 1M alone": [PASS_TOKENS],
        }
        limit = self.matmul / flops_per_token(self.model)
        report: Report = {"limit_tokens_per_second": round(limit)}
        for name, lengths in packs.items():
            passes = MILLION // PASS_TOKENS if "1M" in name else 4
            rate = self._prefill_rate(lengths, passes)
            report[name] = {"tokens_per_second": round(rate), "share_of_matmul_limit": round(rate / limit, 3)}
        return report

    def _prefill_rate(self, lengths: list[int], passes: int) -> float:
        slots, bounds = self.model.empty_state(len(lengths)), [0, *accumulate(lengths)]
        tokens, lasts = tokens_of(bounds[-1], self.vocab_size), torch.tensor(bounds[1:], device="cuda") - 1

        def read() -> None:
            for _ in range(passes):
                self.fast.prefill_(tokens, bounds, slots, range(len(lengths)), lasts)

        return passes * bounds[-1] / seconds(read, 3)

    def tuning(self) -> Report:
        """What the tiling is worth, in microseconds per layer of 16K tokens: each kernel's launch by itself, then spans
        for packs of different widths. A configuration that does not fit the chip is a finding, not a failure."""
        base, report = tiling_of(torch.device("cuda")), {}
        spans = replace(base, least_span=2048, programs=10**6)
        launches = [Launch(*each) for each in ((4, 1), (4, 2), (4, 3), (8, 1), (8, 2))]
        for kernel in ("turn", "sum", "read"):
            for launch in launches:
                name = f"{kernel}, {launch.num_warps} warps, {launch.num_stages} stages"
                report[name] = self._scan_microseconds([0, 16_384], replace(spans, **{kernel: launch}))
        for count in (1, 8, 32, 128):
            bounds = list(range(0, 16_385, 16_384 // count))
            for least in (512, 1024, 2048, 4096, 16_384):
                if least <= 16_384 // count or least == 512:
                    tiling = replace(base, least_span=least, programs=10**6)
                    report[f"{count} of {16_384 // count}, spans of {least}"] = self._scan_microseconds(bounds, tiling)
        profiles = {f"{count} documents": self._kernels(count) for count in (1, 32)}
        return {"microseconds_per_layer_of_16K_tokens": report, "milliseconds_of_a_pass": profiles}

    def _scan_microseconds(self, bounds: list[int], tiling: Tiling) -> object:
        mixer = self.model.backbone.layers[0].mixer
        torch.manual_seed(0)
        proj = mixer.in_proj(torch.randn(bounds[-1], 2048, device="cuda", dtype=torch.bfloat16))
        layer = self.model.empty_state(len(bounds) - 1).layer(0)
        longest = tiling.span_tokens(bounds, self.model.config.num_heads)
        spans, _ = Spans.of(bounds, range(len(bounds) - 1), longest).moved_with([], proj.device)
        try:
            return round(1e6 * seconds(lambda: prefill.scan_(mixer, proj, layer, spans, tiling), 9))
        except Exception as error:
            return str(error)[:80]

    def _kernels(self, count: int) -> Report:
        """Where one reading pass of 16K tokens spends the GPU's time."""
        slots, tokens = self.model.empty_state(count), tokens_of(16_384, self.vocab_size)
        bounds, last = list(range(0, 16_385, 16_384 // count)), torch.tensor([16_383], device="cuda")
        self.fast.prefill_(tokens, bounds, slots, range(count), last)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            self.fast.prefill_(tokens, bounds, slots, range(count), last)
            torch.cuda.synchronize()
        events = sorted(profile.key_averages(), key=lambda event: -event.device_time_total)[:14]
        return {f"{event.count} x {event.key[:60]}": round(event.device_time_total / 1000, 3) for event in events}

    def decode(self) -> Report:
        """Tokens per second against the bytes that must move: weights and states read, states written."""
        weights = sum(p.nbytes for p in self.model.parameters())
        report: Report = {}
        for batch in (1, 32, 128):
            slots = self.model.empty_state(batch)
            tokens, rows = tokens_of(batch, self.vocab_size), range(batch)

            def steps(tokens: Tensor = tokens, slots: State = slots, rows: range = rows) -> None:
                for _ in range(20):
                    self.fast.decode_(tokens, slots, rows)

            rate, limit = 20 * batch / seconds(steps, 3), batch * self.copy / (weights + 2 * slots.nbytes)
            report[f"batch {batch}"] = {
                "tokens_per_second": round(rate),
                "limit_tokens_per_second": round(limit),
                "share_of_bandwidth_limit": round(rate / limit, 3),
            }
        return report

    def memory(self) -> Report:
        """Peak memory, reading 16K and 1M tokens of one document."""
        report, slots = {}, self.model.empty_state(1)
        tokens, last = tokens_of(PASS_TOKENS // 2, self.vocab_size), torch.tensor([PASS_TOKENS // 2 - 1], device="cuda")
        for length in (PASS_TOKENS // 2, MILLION):
            torch.cuda.reset_peak_memory_stats()
            for _ in range(length // len(tokens)):
                self.fast.prefill_(tokens, [0, len(tokens)], slots, [0], last)
            report[f"{length} tokens"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
        return {"peak_mib": report}

    def pieces(self) -> Report:
        """100K tokens in passes of 16K, against pieces of odd lengths.

        `first_light accuracy` compares the kernels with fp32. The difference of each token's log-probability, by
        position.
        """
        tokens = tokens_of(100_000, self.vocab_size, 7)
        generator = torch.Generator().manual_seed(3)
        cuts, odd = [0], [0]
        while cuts[-1] < len(tokens):
            cuts.append(min(cuts[-1] + 16_384, len(tokens)))
        while odd[-1] < len(tokens):
            odd.append(min(odd[-1] + int(torch.randint(1, 5000, (), generator=generator)), len(tokens)))
        whole, pieces = (self._log_probabilities(tokens, bounds) for bounds in (cuts, odd))
        error = (whole - pieces).abs()
        tenths = [error[start:stop] for start, stop in pairwise(range(0, 100_001, 10_000))]
        return {
            "pieces": len(odd) - 1,
            "mean_error_by_tenth_nats": [round(part.mean().item(), 6) for part in tenths],
            "largest_error_nats": round(error.max().item(), 5),
            "mean_log_probability": round(whole.mean().item(), 4),
            "two_equal_runs_differ_by": (whole - self._log_probabilities(tokens, cuts)).abs().max().item(),
        }

    def _log_probabilities(self, tokens: Tensor, bounds: list[int]) -> Tensor:
        """(L - 1,) of each token given those before it, the state carried from piece to piece."""
        slots, parts = self.model.empty_state(1), []
        for start, stop in pairwise(bounds):
            hidden = self.fast.hidden_(tokens[start:stop], [0, stop - start], slots, [0])
            targets = tokens[start + 1 : stop + 1]
            for rows, ids in zip(hidden[: len(targets)].split(2048), targets.split(2048), strict=True):
                logits = self.model.lm_head(rows).float()
                parts.append(-F.cross_entropy(logits, ids, reduction="none"))
        return torch.cat(parts)

    def peer(self) -> Report:
        """mamba-ssm's own operator in place of our scan, all else alike, on the same machine in the same run."""
        try:
            official.operators()
        except ModelError as error:
            return {"missing": str(error)}
        report: Report = {}
        for name, lengths in {"32 of 1K": [1024] * 32, "2 of 16K": [16_384] * 2, "one of 32K": [32_768]}.items():
            bounds = [0, *accumulate(lengths)]
            tokens = tokens_of(bounds[-1], self.vocab_size)
            theirs = bounds[-1] / seconds(lambda tokens=tokens, bounds=bounds: self._official_pass(tokens, bounds), 3)
            ours = self._prefill_rate(lengths, 1)
            report[name] = {"ours": round(ours), "mamba_ssm": round(theirs), "ratio": round(ours / theirs, 2)}
        return report

    def _official_pass(self, tokens: Tensor, bounds: list[int]) -> Tensor:
        state, cu_seqlens = self.model.empty_state(len(bounds) - 1), torch.tensor(bounds, device="cuda").int()
        return self.fast.forward(
            tokens, state, lambda mixer, proj, layer: official.scan(mixer, proj, layer, cu_seqlens)[0]
        )

    def mimo(self) -> Report:
        """The 1.5B of rank 4."""
        self.model = random_model(published(is_mimo=True))
        self.fast = FastPath(self.model)
        limit = self.matmul / flops_per_token(self.model, 16)
        rates = {"32 of 1K": self._prefill_rate([1024] * 32, 2), "one of 32K": self._prefill_rate([32_768], 2)}
        report: Report = {name: round(rate) for name, rate in rates.items()}
        return {"prefill": report, "limit_tokens_per_second": round(limit), "decode": self.decode()}


if __name__ == "__main__":
    with torch.inference_mode():
        main(sys.argv[1:])
