"""Recordings through the pipeline in several processes; what is already stored never reaches them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool

import torch

from avatar_lab.allocator import keep_freed_memory
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.lifetime import die_with_parent, leave_interrupts_to_parent
from data_prep.manifest import Recording
from data_prep.pipeline import Pipeline, Prepared
from data_prep.settings import Settings

LoadAudio = Callable[[], AudioCodec]
LoadVideo = Callable[[], VideoCodec]
_AHEAD = 4
"""Recordings handed out per worker at a time."""


def outcomes(
    recordings: Sequence[Recording],
    settings: Settings,
    load_audio: LoadAudio,
    load_video: LoadVideo,
    *,
    workers: int,
) -> Iterator[Prepared]:
    """The outcome of every recording, in no particular order; ``workers`` 0 runs in this process.

    Raises:
        ValueError: a worker was killed.
    """
    left = []
    with Pipeline(settings, load_audio(), load_video()) as pipeline:
        for recording in recordings:
            stored = pipeline.recall(recording)
            if stored is None:
                left.append(recording)
            else:
                yield stored
        if workers == 0:
            yield from map(pipeline.prepare, left)
            return
    if not left:
        return
    executor = ProcessPoolExecutor(
        max_workers=min(workers, len(left)),
        mp_context=multiprocessing.get_context("spawn"),  # threads of torch do not survive a fork
        initializer=_start_worker,
        initargs=(settings, load_audio, load_video),
    )
    with executor:
        try:
            waiting: set[Future[Prepared]] = set()
            for recording in left:
                if len(waiting) >= _AHEAD * workers:  # as many as keep all busy: a future weighs more than a recording
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                waiting.add(executor.submit(_prepare_one, recording))
            yield from (future.result() for future in as_completed(waiting))
        except BrokenProcessPool as error:
            raise ValueError(
                f"a worker process was killed ({error}), often for want of memory: run the same command again, which "
                f"goes on where it stopped, with fewer than {workers} workers"
            ) from error
        except BaseException:  # the recordings in progress finish, the rest is left to the next call
            executor.shutdown(wait=True, cancel_futures=True)
            raise


_worker_pipeline: list[Pipeline] = []
"""The one pipeline of a worker process."""


def _start_worker(settings: Settings, load_audio: LoadAudio, load_video: LoadVideo) -> None:
    die_with_parent()
    keep_freed_memory()
    leave_interrupts_to_parent()
    torch.set_num_threads(1)
    _worker_pipeline.append(Pipeline(settings, load_audio(), load_video()))


def _prepare_one(recording: Recording) -> Prepared:
    return _worker_pipeline[0].prepare(recording)
