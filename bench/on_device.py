"""A device to measure on: a GPU, or a CPU in its place to see that a script runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from training.lora.footprint import PeakBytes

VOCABULARY = 512


@dataclass(frozen=True, slots=True)
class OnDevice:
    """Clock, memory and models of one."""

    name: str

    @property
    def is_gpu(self) -> bool:
        return self.name != "cpu"

    @property
    def told(self) -> str:
        """What is measured on."""
        if self.is_gpu:
            return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
        return "CPU, TINY SIZES: that it runs; says nothing of a GPU"

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """Wall time."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def peak_nbytes(self, work: Callable[[], object]) -> int:
        """The most that was allocated at once; on a CPU, of what work allocates."""
        if not self.is_gpu:
            with PeakBytes() as peak:
                work()
            return peak.nbytes
        self.wait()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        self.wait()
        return torch.cuda.max_memory_allocated()

    def busy(self, work: Callable[[], object]) -> float:
        """Share of the wall time in which kernels run."""
        kind = ProfilerActivity.CUDA if self.is_gpu else ProfilerActivity.CPU
        with profile(activities=[kind]) as seen:
            took_s = self.seconds(work)
        events = seen.key_averages()
        ran_us = sum(
            each.self_device_time_total if self.is_gpu else each.self_cpu_time_total
            for each in events
        )
        return ran_us / 1e6 / took_s

    @contextmanager
    def limited(self, nbytes: int) -> Iterator[None]:
        """No more than so much beyond what is allocated now."""
        if not self.is_gpu:
            with PeakBytes(nbytes):
                yield
            return
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + nbytes) / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    def llama(self, hidden: int, layers: int, dtype: torch.dtype, seed: int = 0) -> PreTrainedModel:
        """Of random weights."""
        config = AutoConfig.for_model(
            "llama",
            vocab_size=VOCABULARY,
            hidden_size=hidden,
            intermediate_size=hidden * 11 // 4,
            num_hidden_layers=layers,
            num_attention_heads=max(1, hidden // 128),
            num_key_value_heads=max(1, hidden // 128),
            max_position_embeddings=2048,
        )
        torch.manual_seed(seed)
        with torch.device(self.name):
            return AutoModelForCausalLM.from_config(config, dtype=dtype)
