"""``avatar-lab doctor``: does this machine have what the package needs, and if not, what to do about it.

Each check runs by itself, in a process of its own where a broken binary could take the interpreter down.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Outcome of one check."""

    name: str
    ok: bool
    needed: bool
    """A failure of something that is not needed is only reported."""
    seen: str
    mend: str = ""


def imports(statement: str) -> str | None:
    """None if ``statement`` runs in a fresh interpreter, else the last line of its error."""
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, timeout=300)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"ended by signal {-done.returncode}"


def check_libraries() -> Iterator[Finding]:
    """Versions, and whether each library really imports."""
    for name, needed, mend in (
        ("torch", True, "pip install 'torch>=2.11'"),
        ("lightning", True, "pip install 'lightning>=2.6.6' (2.6.2 and 2.6.3 were malware: never install those)"),
        ("hydra-core", True, "pip install 'hydra-core>=1.3.8,<1.5'"),
        ("webdataset", True, "pip install 'webdataset>=1.0.2'"),
        ("av", True, "pip install 'av>=15'"),
        ("safetensors", True, "pip install safetensors"),
        ("decord", False, "pip install decord (Linux x86-64 only; PyAV takes its place elsewhere)"),
        ("torchaudio", False, "install it from the same index as torch; on a CPU-only torch use its CPU index"),
        ("wandb", False, "pip install wandb (only for training.sinks.wandb)"),
    ):
        module = {"hydra-core": "hydra"}.get(name, name)
        try:
            seen = version(name)
        except PackageNotFoundError:
            yield Finding(name=name, ok=False, needed=needed, seen="not installed", mend=mend)
            continue
        error = imports(f"import {module}")
        yield Finding(name=name, ok=error is None, needed=needed, seen=f"{seen} {error or ''}".strip(), mend=mend)


def check_codecs() -> Iterator[Finding]:
    """Whether PyAV can write and read H.264, which the world, the shards and the reports use."""
    error = imports("import av; av.codec.Codec('h264', 'w'); av.codec.Codec('h264', 'r')")
    mend = "reinstall av from its wheel: pip install --force-reinstall --only-binary av av"
    yield Finding(name="h264 in PyAV", ok=error is None, needed=True, seen=error or "encoder and decoder", mend=mend)
    path = shutil.which("ffmpeg")
    mend = "apt-get install ffmpeg (only for looking at media by hand)"
    yield Finding(name="ffmpeg", ok=path is not None, needed=False, seen=path or "not found", mend=mend)


def check_weights() -> Iterator[Finding]:
    """Whether configs and codec weights are found from where the package is installed."""
    error = imports("from avatar_lab.config import load; load([])")
    mend = "reinstall: pip install -e . (or build the wheel again)"
    yield Finding(name="configs", ok=error is None, needed=True, seen=error or "found", mend=mend)
    weights = sorted((Path(__file__).parent / "weights").glob("*.safetensors"))
    names = ", ".join(path.name for path in weights) or "none"
    mend = "the clone is incomplete: fetch avatar_lab/weights again, or train experiment=codec/..."
    yield Finding(name="codec weights", ok=bool(weights), needed=True, seen=names, mend=mend)


def check_machine() -> Iterator[Finding]:
    """Cores, memory, disk, GPU, Slurm."""
    cores = len(os.sched_getaffinity(0))
    yield Finding(
        name="cores", ok=cores >= 2, needed=False, seen=str(cores), mend="two cores are the reference machine"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    mend = "the quickstart wants 8 GiB; use --smoke, or lower data.batch_size"
    yield Finding(name="memory", ok=memory > 7.5 * GIB, needed=False, seen=f"{memory / GIB:.1f} GiB", mend=mend)
    free = shutil.disk_usage(Path.cwd()).free
    mend = "free some space, or give another folder with --out / out="
    yield Finding(name="disk", ok=free > 5 * GIB, needed=True, seen=f"{free / GIB:.1f} GiB free here", mend=mend)
    writable = os.access(Path.cwd(), os.W_OK)
    seen = "writable" if writable else "read-only"
    yield Finding(name="folder", ok=writable, needed=True, seen=seen, mend="change to a folder you may write to")
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mend = "fine for the tiny configs; larger ones want a CUDA build of torch and a driver (nvidia-smi)"
    yield Finding(name="GPU", ok=bool(gpus), needed=False, seen=", ".join(gpus) or "none", mend=mend)
    slurm = shutil.which("sbatch")
    mend = "only on cluster login nodes; avatar-lab submit --print works without"
    yield Finding(name="Slurm", ok=slurm is not None, needed=False, seen=slurm or "no sbatch", mend=mend)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (check_libraries, check_codecs, check_weights, check_machine)


def main() -> None:
    """Print one line per finding; exit code 1 if something needed is broken."""
    argparse.ArgumentParser(prog="avatar-lab doctor", description=__doc__).parse_args()
    findings = [finding for check in CHECKS for finding in check()]
    for finding in findings:
        mark = "ok  " if finding.ok else "FAIL" if finding.needed else "note"
        print(f"{mark}  {finding.name:<14} {finding.seen}")
        if not finding.ok:
            print(f"      {'':<14} -> {finding.mend}")
    broken = [finding.name for finding in findings if finding.needed and not finding.ok]
    print(f"broken: {', '.join(broken)}" if broken else "all that is needed is here")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
