"""The arithmetic of a plan: devices, memory, communication, time and money, from what was traced."""

from __future__ import annotations

from dataclasses import dataclass

from avatar_lab.construct import nearest
from avatar_lab.imagine import Linear

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator. Figures are its vendor's, dense (without sparsity) and per second."""

    name: str
    peak_flops: float
    """Of bfloat16 products."""
    single_flops: float
    """Of fp32 products; torch does not round their factors (TF32) unless it is told to."""
    memory_bytes: float
    memory_bandwidth: float
    link_bandwidth: float
    """To the other devices of its machine, in one direction."""
    node_bandwidth: float
    """To other machines, in one direction: that of the network card which the device has to itself."""
    dollars_per_hour: float
    """An assumption, not a quotation: on-demand rent as of 2026."""
    gpus_per_node: int = 8
    half: bool = True
    """A GPU, which multiplies fast in bfloat16; else a CPU that does not."""

    def flops(self, *, half: bool) -> float:
        """A second, of products in bfloat16 or in fp32."""
        return self.peak_flops if half else self.single_flops

    def bandwidth(self, gpus: int) -> float:
        """Of the slowest link between ``gpus`` devices. Beyond one machine every message is charged at the network's
        speed: a bound from above, since messages that stay inside a machine go faster."""
        return self.link_bandwidth if gpus <= self.gpus_per_node else min(self.link_bandwidth, self.node_bandwidth)


DEVICES = {
    device.name: device
    for device in (
        # dense figures of H100 SXM and A100 80GB SXM as quoted from NVIDIA's data sheets, which give twice as much with
        # sparsity; H200 memory and bandwidth from third parties' pages; one 400 Gb/s card per device (200 for A100)
        Device(name="h100", peak_flops=989e12, single_flops=67e12, memory_bytes=80e9, memory_bandwidth=3.35e12,
               link_bandwidth=450e9, node_bandwidth=50e9, dollars_per_hour=3.0),
        Device(name="h200", peak_flops=989e12, single_flops=67e12, memory_bytes=141e9, memory_bandwidth=4.8e12,
               link_bandwidth=450e9, node_bandwidth=50e9, dollars_per_hour=3.8),
        Device(name="a100", peak_flops=312e12, single_flops=19.5e12, memory_bytes=80e9, memory_bandwidth=2.0e12,
               link_bandwidth=300e9, node_bandwidth=25e9, dollars_per_hour=1.8),
        # an order of magnitude for one core with AVX2: 2 units x 8 lanes x 2 operations x 3 GHz
        Device(name="cpu", peak_flops=96e9, single_flops=96e9, memory_bytes=8e9, memory_bandwidth=10e9,
               link_bandwidth=1e9, node_bandwidth=1e9, dollars_per_hour=0.05, half=False),
    )
}  # fmt: skip


def device_named(name: str) -> Device:
    """Raises ValueError where there is none of that name."""
    if name not in DEVICES:
        raise ValueError(f"there is no device={name}{nearest(name, list(DEVICES))}; there are {', '.join(DEVICES)}")
    return DEVICES[name]


@dataclass(frozen=True, kw_only=True)
class StepCost(Linear):
    """One training step of one device, as traced. All bytes are those of the moment when there are most."""

    flops: float
    """Of all turns of a step, forward, backward and optimisers; dense attention, also where a mask hides keys."""
    parameters: float
    """Of all roles."""
    trained: float
    weight_bytes: float
    gradient_bytes: float
    """Of the largest turn."""
    optimizer_bytes: float
    average_bytes: float
    activation_bytes: float
    """What autograd keeps of the largest turn: under autocast, values in bfloat16 and fp32, and copies of weights."""
    checkpointed_bytes: float
    """The same if each layer kept its input alone and computed the rest again when its turn comes."""
    copied_bytes: float
    """Of ``activation_bytes``, those copies of weights, in bfloat16: sharded runs let them go and gather them again."""
    reduced_bytes: float
    """Gradients that all devices average in one step."""
    gathered_bytes: float
    """Weights that are gathered in one step if they are sharded: at every call of a linear map, and once more when the
    backward pass comes to it (``training/sharding.py``)."""
    scattered_bytes: float
    """Gradients that are scattered then, after every backward pass."""
    whole_bytes: float
    """Gradients of weights which stay whole then: they are averaged once a step."""

    def memory(self, gpus: int, *, sharded: bool, checkpointed: bool) -> float:
        """Bytes per device. Replicas average gradients as one vector, a copy."""
        fixed = self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.average_bytes
        flat = self.gradient_bytes if gpus > 1 else 0.0
        return (fixed / gpus if sharded else fixed + flat) + self.kept_bytes(sharded=sharded, checkpointed=checkpointed)

    def kept_bytes(self, *, sharded: bool, checkpointed: bool) -> float:
        """Of activations, which a smaller batch has fewer of. Sharded and checkpointed, copies of the weights of one
        layer are counted, though these are let go."""
        return self.checkpointed_bytes if checkpointed else self.activation_bytes - sharded * self.copied_bytes


@dataclass(frozen=True, kw_only=True)
class StreamCost(Linear):
    """One block of one conversation against a full memory, as traced: weights in fp32, products in bfloat16 on GPUs."""

    begin_flops: float
    predict_flops: float
    write_flops: float
    weight_bytes: float
    copied_bytes: float
    """Copies of weights in bfloat16, which last for a block."""
    cache_bytes: float

    def flops(self, num_steps: int) -> float:
        """Of one block."""
        return self.begin_flops + num_steps * self.predict_flops + self.write_flops

    def seconds(self, device: Device, *, num_steps: int, utilisation: float) -> float:
        """Each pass takes the longer of its products and of reading weights and cache once. The first reads weights in
        fp32 and writes and reads their copies, all others read the copies."""
        rate = device.flops(half=device.half) * utilisation
        passes = [self.begin_flops + self.predict_flops, *[self.predict_flops] * (num_steps - 1), self.write_flops]
        later = self.weight_bytes - self.copied_bytes + self.cache_bytes  # copies are half of what they stand for
        first = self.weight_bytes + 2 * self.copied_bytes + self.cache_bytes
        read = [first, *[later] * num_steps]
        times = zip(passes, read, strict=True)
        return sum(max(flops / rate, moved / device.memory_bandwidth) for flops, moved in times)


def all_reduce_bytes(size: float, gpus: int) -> float:
    """What each of ``gpus`` sends to average ``size`` bytes around a ring (Patarasuk and Yuan 2009)."""
    return 2 * (gpus - 1) / gpus * size


def sharded_bytes(size: float, gpus: int) -> float:
    """What each sends to gather or scatter ``size`` bytes (FSDP, Zhao et al. 2023, arXiv:2304.11277)."""
    return (gpus - 1) / gpus * size
