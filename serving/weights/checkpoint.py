"""A model's weights on a hub: which tensors there are, where they lie, and who they are."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from blake3 import blake3

from client.errors import ClientError
from client.hub import HubClient, RepoName
from client.plan import PlannedSegment, RestorePlan
from client.rebuild import HubFile
from serving.weights.header import BadCheckpoint, TensorSlot, parse_header

SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Shard:
    """A safetensors file: its plan, and its tensors by name."""

    source: HubFile
    plan: RestorePlan
    slots: dict[str, TensorSlot]

    def segments_of(self, slot: TensorSlot) -> Iterator[int]:
        """Numbers of the segments that hold a tensor's bytes: one, unless the file is odd."""
        segments = self.plan.segments
        first = bisect_right(segments, slot.start, key=lambda segment: segment.start) - 1
        for number in range(max(first, 0), len(segments)):
            if segments[number].start >= slot.stop:
                return
            if _overlaps(segments[number], slot):
                yield number

    def identity_of(self, slot: TensorSlot) -> tuple[object, ...]:
        """Equal for equal tensors: dtype, shape, and digests with the place among them."""
        parts = [
            (
                self.plan.contents[self.plan.segments[number].content].digest,
                self._shift(number, slot),
            )
            for number in self.segments_of(slot)
        ]
        return slot.dtype, slot.shape, *parts

    def _shift(self, number: int, slot: TensorSlot) -> int:
        return slot.start - self.plan.segments[number].start


def _overlaps(segment: PlannedSegment, slot: TensorSlot) -> bool:
    return segment.start < slot.stop and segment.start + segment.nbytes > slot.start


class Checkpoint:
    """The weights of one commit. Raises BadCheckpoint or ClientError when it cannot be read."""

    def __init__(self, hub: HubClient, repo: str, revision: str = "main") -> None:
        self.repo = RepoName.parse(repo)
        self.commit = hub.commit_of(self.repo, revision)
        files = [
            file
            for file in hub.files(self.repo, self.commit)
            if file.path.endswith(SUFFIX) and "/" not in file.path
        ]
        # Mistral's own form of the same weights, under other names.
        files = [file for file in files if not file.path.startswith("consolidated")] or files
        if not files:
            raise BadCheckpoint(
                f"{repo} has no safetensors weights at its root; GGUF, pickles and ONNX are not "
                "served"
            )
        self.shards = [_open(HubFile(hub, self.repo, self.commit, file)) for file in files]

    @cached_property
    def shard_of(self) -> dict[str, Shard]:
        """The shard of each tensor, by name."""
        return {name: shard for shard in self.shards for name in shard.slots}

    def identity_of(self, name: str) -> tuple[object, ...]:
        """Equal for equal tensors, in whatever checkpoint."""
        shard = self.shard_of[name]
        return shard.identity_of(shard.slots[name])

    def nbytes_of(self, names: Sequence[str]) -> int:
        """Raw bytes of some tensors."""
        slots = [self.shard_of[name].slots[name] for name in names]
        return sum(slot.stop - slot.start for slot in slots)


def _open(source: HubFile) -> Shard:
    if source.file.sha256 is None:
        raise BadCheckpoint(f"{source.file.path} is too small to hold weights")
    plan = source.plan()
    first = plan.segments[0]
    head = bytearray(first.nbytes)
    source.read_plain(0, memoryview(head))
    if blake3(head).digest() != plan.contents[first.content].digest:
        raise ClientError(f"the hub sent another header of {source.file.path} than it promised")
    length = 8 + int.from_bytes(head[:8], "little")
    if length > len(head):
        if length > plan.nbytes:
            raise BadCheckpoint(f"{source.file.path} is no safetensors file")
        rest = bytearray(length - len(head))
        source.read_plain(len(head), memoryview(rest))
        head += rest
    return Shard(source, plan, {slot.name: slot for slot in parse_header(bytes(head), plan.nbytes)})
