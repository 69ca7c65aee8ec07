"""The GPU that benchmarks/gpu.py measures, or a CPU for the smoke test."""

import time
from collections.abc import Callable

import torch


class Machine:
    """The GPU, or a CPU for the smoke test, with measurements of the time and the memory of a call."""

    def __init__(self, smoke: bool) -> None:
        self.smoke = smoke
        self.device = "cpu" if smoke else "cuda"
        self.name = "smoke test on a CPU" if smoke else torch.cuda.get_device_name()

    def milliseconds(self, call: Callable[[], object]) -> float:
        """Return the median time of a call."""
        if not self.smoke:
            from triton.testing import do_bench

            return float(do_bench(call, warmup=20, rep=60, return_mode="median"))
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)

    def graph_milliseconds(self, call: Callable[[], object]) -> float:
        """Return the time of a call that was recorded as a CUDA graph."""
        if self.smoke:
            return 1.0
        from triton.testing import do_bench_cudagraph

        return float(do_bench_cudagraph(call, rep=30))

    def peak(self, call: Callable[[], object]) -> float:
        """Return the peak of allocated GPU memory in gigabytes."""
        if self.smoke:
            return 1.0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 1e9
