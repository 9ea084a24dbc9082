"""Processes that train together, as a launcher would start them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def launched_as(rank: int, port: int, world_size: int = 2) -> None:
    """What a launcher of ``world_size`` processes says."""
    os.environ |= {
        "GLOO_SOCKET_IFNAME": "lo",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world_size),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
    }


def forking() -> Any:
    """Where processes come from that have imported lightning already, and nothing that holds threads."""
    multiprocessing.set_forkserver_preload(["avatar_lab.training.fit", "tests.training.stages"])
    return multiprocessing.get_context("forkserver")


def start(function: Callable[..., None], *args: Any, nprocs: int) -> None:
    """``function(rank, *args)`` in so many processes; an error in one is raised here."""
    forking()
    mp.start_processes(function, args=args, nprocs=nprocs, start_method="forkserver")
