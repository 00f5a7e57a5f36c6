"""A GPU is known by any of its names, as torch, Ray, Kubernetes and price lists write them, and no other is."""

import pytest

from configs.hardware import GPUS, gpu_named, same_gpu
from configs.prices import Catalog


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80 GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA_H100"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA-H100-80GB-HBM3"),
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb"),
        ("NVIDIA H200", "H200 141GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80G"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA L40S", "L40S PCIe 48 GB"),
        ("L40S 45GB", "L40S PCIe 48 GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "rtx 4090"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 96 GB"),
        ("AMD Instinct MI300X", "MI300X OAM 192 GB"),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "A100-SXM4-40GB MIG 3g.20gb"),
    ],
)
def test_names_of_one_gpu(one, other):
    assert same_gpu(one, other) and same_gpu(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("NVIDIA H100 80GB HBM3", "NVIDIA H200"),
        ("NVIDIA A100-SXM4-40GB", "A100-80G"),
        ("NVIDIA A100 80GB PCIe", "A100 SXM4 80 GB"),
        ("NVIDIA H100 NVL", "H100 SXM5 80 GB"),
        ("NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3"),
        ("NVIDIA L40S", "NVIDIA L40"),
        ("NVIDIA RTX A6000", "NVIDIA RTX 6000 Ada Generation"),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "A100 SXM4 40GB"),
        ("NVIDIA GB200", "NVIDIA B200"),
        ("AMD Instinct MI300X", "MI325X"),
    ],
)
def test_names_of_two(one, other):
    assert not same_gpu(one, other) and not same_gpu(other, one)


def test_every_gpu_that_the_catalog_prices_is_known_and_the_smallest_comes_first():
    priced = {gpu_named(price.gpu).name for price in Catalog.load().prices}
    assert priced == GPUS.keys()
    sizes = [gpu.memory_bytes for gpu in GPUS.values()]
    assert sizes == sorted(sizes)
