"""The loader against its bars and against plain WebDataset, in one process and one run, as JSON on stdout.

    python experiments/benchmark_loader.py --root outputs/quickstart [--rows 100000] [--repetitions 5] [--seed 0]

``--root`` is the folder of a quickstart: its ``shards`` are read, its ``teacher`` starts the training step. Bars: the
first batch within 2 s on an index of 100,000 interactions, and 20 times what the tiny autoregressive step consumes.

All ways of reading alternate, so that whatever else the machine does meets all of them; rates are windows per second
of processor time, of one thread. ``cached``: conversations stay decoded in memory, as in the quickstart. ``uncached``:
each window's conversation is read and decoded anew, as where a data set is much larger than memory. ``webdataset``: the
same tars front to back through ``wds.WebDataset`` with its shuffle buffer, every member decoded by the same functions,
1 or 4 random windows cut from each conversation by the same function.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import webdataset as wds

from avatar_lab.config import load
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.index import Index
from avatar_lab.data.sampler import WindowSampler
from avatar_lab.data.schema import (
    INDEX_NAME,
    INFO_NAME,
    SIDES,
    file_sha256,
    from_members,
    read_index_table,
    read_info,
    write_info,
)
from avatar_lab.data.windows import WindowId, cut_window, stack_windows, whole_blocks
from avatar_lab.layout import Layout
from avatar_lab.tensors import DyadBatch
from avatar_lab.train import build_stage, shared_objects

BATCH, BLOCKS = 16, 20
"""Of ``configs/data/shards.yaml``, which the quickstart uses."""
WEIGHTS = {"seed": 0, "event_weight": 1.0, "listening_weight": 1.0}
SHUFFLE = 32
"""Conversations in WebDataset's shuffle buffer."""
FIRST_BATCH = """
import json, sys, time
begin = time.perf_counter()
from pathlib import Path
from avatar_lab.data.dataset import DyadData
from avatar_lab.layout import Layout
imported, used = time.perf_counter(), time.process_time()
workers = int(sys.argv[2])
data = DyadData(root=Path(sys.argv[1]), layout=Layout(), batch_size=16, num_blocks=20, seed=0)
opened = time.perf_counter()
batch = next(data.loader(0, workers))
end = time.perf_counter()
print(json.dumps({"import": imported - begin, "open": opened - imported, "first_batch": end - imported,
                  "with_import": end - begin, "first_batch_processor": time.process_time() - used,
                  "with_import_processor": time.process_time()}))
"""


def enlarged(shards: Path, to: Path, *, rows: int, seed: int) -> None:
    """A data set whose index has ``rows`` rows: the real ones under new keys again and again, with other seconds of
    reactions, offsets and checksums, so that it is as large as a real one; the rows that the first batches draw keep
    the real places of their members."""
    info, rng = read_info(shards), np.random.default_rng(seed)
    real = read_index_table(shards / INDEX_NAME)
    table = real.take(pa.array(np.arange(rows) % len(real)))
    keys = [f"{key}-{number}" for number, key in enumerate(table["key"].to_pylist())]
    columns = {"key": pa.array(keys), "interaction": pa.array(keys)}
    for name in ("a_reactions", "b_reactions", "a_listening", "b_listening"):
        column = table[name].combine_chunks()
        columns[name] = pa.ListArray.from_arrays(column.offsets, rng.permutation(column.values.to_numpy()))
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    for shard in info.shards:
        (to / shard.name).symlink_to((shards / shard.name).resolve())
    counts = Counter(table["shard"].to_pylist())
    counted = tuple(replace(shard, samples=counts[shard.name]) for shard in info.shards)
    data = WindowSampler(Index(table), Index(table).of_split("train"), layout=Layout(), num_blocks=BLOCKS, **WEIGHTS)
    drawn = {w.key for step in range(16) for w in data.windows(step, batch_size=BATCH, rank=0, world_size=1)}
    table = _scattered(table, keep=np.asarray([key in drawn for key in keys]), rng=rng)
    pq.write_table(table, to / INDEX_NAME, compression="zstd")
    write_info(to / INFO_NAME, replace(info, shards=counted, index_sha256=file_sha256(to / INDEX_NAME)))


def _scattered(table: pa.Table, *, keep: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """The index with members at random places and with random checksums, but for the rows in ``keep``."""
    members = table["members"].combine_chunks()
    kept_M = np.repeat(keep, np.diff(members.offsets.to_numpy()))
    fields = {field.name: members.values.field(field.name) for field in members.type.value_type}
    for name, unit, most in (("offset", 512, 1 << 20), ("crc32", 1, 1 << 32)):
        real_M = fields[name].to_numpy()
        fields[name] = pa.array(np.where(kept_M, real_M, unit * rng.integers(0, most, len(real_M))), fields[name].type)
    values = pa.StructArray.from_arrays(list(fields.values()), fields=list(members.type.value_type))
    column = pa.ListArray.from_arrays(members.offsets, values)
    return table.set_column(table.schema.get_field_index("members"), table.schema.field("members"), column)


def first_batch(root: Path, *, workers: int) -> dict[str, float]:
    """Seconds in a fresh process."""
    command = [sys.executable, "-c", FIRST_BATCH, str(root), str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def training_step(root: Path, data: DyadData, *, steps: int, seed: int) -> float:
    """Windows per second of the tiny autoregressive step, forward and backward only, so rather too fast than too
    slow."""
    config = load(["experiment=quickstart/autoregressive", f"root={root}", f"seed={seed}"])
    stage = build_stage(config, shared_objects(config))
    batches = [data.batch(step) for step in range(steps + 1)]
    begin = 0.0
    for step, batch in enumerate(batches):
        if step == 1:  # the first step warms up
            begin = time.process_time()
        for _, losses in stage.turns(batch, step, torch.Generator().manual_seed(step)):
            losses.total.backward()
    return steps * BATCH / (time.process_time() - begin)


def ours(data: DyadData, *, first: int) -> Iterator[DyadBatch]:
    """Batches of the loader in this process."""
    return data.loader(first, 0)


def plain_webdataset(shards: Path, layout: Layout, *, windows: int, seed: int) -> Iterator[DyadBatch]:
    """Batches from tars read front to back, again and again."""
    info = read_info(shards)
    silence_K = np.asarray(info.silence_tokens, np.uint16)
    urls = [str(shards / shard.name) for shard in info.shards if shard.name.startswith("train")]
    rng = np.random.default_rng(seed)
    stream = wds.WebDataset(urls, shardshuffle=len(urls), seed=seed).repeat().shuffle(SHUFFLE, seed=seed)
    pending = []
    for sample in stream:
        members = {name: raw for name, raw in sample.items() if not name.startswith("__")}
        interaction = from_members(sample["__key__"], members)
        a = interaction.sides["a"]
        blocks = whole_blocks(layout, audio_tokens=len(a.audio_tokens), video_latents=len(a.avatar_latents))
        for _ in range(windows):
            side, start = SIDES[rng.integers(2)], int(rng.integers(blocks - BLOCKS + 1))
            window = WindowId(key=interaction.key, side=side, start_block=start, num_blocks=BLOCKS)
            pending.append(cut_window(interaction, window, layout=layout, silence_K=silence_K))
            if len(pending) == BATCH:
                yield stack_windows(pending)
                pending = []


def rate(batches: Iterator[DyadBatch], *, count: int) -> float:
    """Windows per second of processor time; the first batch warms up."""
    next(batches)
    begin = time.process_time()
    for _ in islice(batches, count):
        pass
    return count * BATCH / (time.process_time() - begin)


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": float(np.median(values)), "min": min(values), "max": max(values), "n": len(values)}


def main() -> None:
    """Measure everything and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of a quickstart: shards and teacher")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="training steps per repetition")
    parser.add_argument("--batches", type=int, default=40, help="per repetition and way of reading")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    layout, shards = Layout(), options.root / "shards"
    with tempfile.TemporaryDirectory() as folder:
        enlarged(shards, Path(folder), rows=options.rows, seed=options.seed)
        size = (Path(folder) / INDEX_NAME).stat().st_size
        starts = {
            f"{workers} workers": [first_batch(Path(folder), workers=workers) for _ in range(options.repetitions)]
            for workers in (0, 2)
        }
    settings = {"root": shards, "layout": layout, "batch_size": BATCH, "num_blocks": BLOCKS, "seed": options.seed}
    cached, uncached = DyadData(**settings), DyadData(**settings, cache_bytes=0)
    for step in range(20):
        cached.batch(step)
    rates: dict[str, list[float]] = {}
    for turn in range(options.repetitions):
        measured = {
            "training step": training_step(options.root, cached, steps=options.steps, seed=options.seed),
            "cached": rate(ours(cached, first=1000 * turn), count=options.batches),
            "uncached": rate(ours(uncached, first=1000 * turn), count=options.batches),
        }
        for windows in (1, 4):
            stream = plain_webdataset(shards, layout, windows=windows, seed=options.seed + turn)
            measured[f"webdataset {windows}"] = rate(stream, count=options.batches)
        for name, value in measured.items():
            rates.setdefault(name, []).append(value)
    pairs = [("cached", "training step"), ("uncached", "training step"), ("uncached", "webdataset 1"),
             ("cached", "webdataset 1"), ("cached", "webdataset 4"), ("webdataset 1", "training step")]  # fmt: skip
    result = {
        "first_batch": {
            workers: {name: spread([run[name] for run in runs]) for name in runs[0]} for workers, runs in starts.items()
        },
        "index": {"rows": options.rows, "bytes": size},
        "windows_per_second": {name: spread(values) for name, values in rates.items()},
        "ratios": {
            f"{over} / {under}": spread([a / b for a, b in zip(rates[over], rates[under], strict=True)])
            for over, under in pairs
        },
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "seed": options.seed,
        },
    }
    json.dump(result, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
