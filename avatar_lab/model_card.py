"""Model cards: what a checkpoint is, how it was made and how good it is, from the records of its own runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from avatar_lab.checkpoint import Card, Checkpoint, load_checkpoint
from avatar_lab.layout import Stream
from avatar_lab.run_table import cards_of, runs_df

ABILITIES = {1: "talks", 2: "talks and listens", 3: "talks, listens and sees"}
GENERATED = "generated"
"""Licence of recordings that the world renders."""


def model_card(path: Path, *, root: Path, summary: Path | None) -> str:
    """Markdown about the checkpoint ``path``.

    root     the graph's folder, whose runs made it
    summary  ``summary.json`` of an evaluation in which an agent has the checkpoint's name; ``None``: no figures

    Raises:
        ValueError: the checkpoint cannot be read, there are no runs, or the evaluation does not know it.
    """
    checkpoint = load_checkpoint(path)
    parts = [f"# {path.stem}", *_what(checkpoint), "## How it was made", _runs(root, checkpoint.card)]
    parts += ["## Terms", _terms(checkpoint.card)]
    if summary is not None:
        parts += ["## What it does", *_figures(json.loads(summary.read_text()), path.stem)]
    return "\n\n".join(parts) + "\n"


def _what(checkpoint: Checkpoint) -> list[str]:
    model, card, layout = checkpoint.model, checkpoint.card, checkpoint.layout
    number = sum(parameter.numel() for parameter in model.parameters())
    level = int(checkpoint.level)
    if card.stage == "teacher":
        about = "A bidirectional teacher: it sees its own future and cannot stream."
    else:
        reaction = ", ".join(
            f"{name} after {float(layout.worst_reaction(stream)):.2f} s at most"
            for stream, name, able in (
                (Stream.USER_AUDIO, "to sound", checkpoint.level.listens),
                (Stream.USER_VIDEO, "to the camera", checkpoint.level.sees),
            )
            if able
        )
        about = f"It streams in blocks of {1000 * float(layout.block_seconds):g} ms" + (
            f" and reacts {reaction}." if reaction else "."
        )
    steps = ", ".join(f"{u:.3g}" for u in card.sampler.steps)
    renoise = card.sampler.renoise
    kind = f"with fresh noise of deviation {renoise:g} between them" if renoise else "by the flow's ODE"
    return [
        f"Level {level} ({ABILITIES[level]}), stage `{card.stage}`, {number / 1e6:.2f} M parameters. {about}",
        f"Sampled at u = {steps}, {kind}. Speaks the codecs {card.audio_codec} (audio) and {card.video_codec} (video).",
    ]


def _runs(root: Path, card: Card) -> str:
    """The graph's runs that made the checkpoint, in the order in which they were started; what lies deeper, such as an
    ablation, is not of the graph."""
    stages = {ancestor.partition(":")[0] for ancestor in card.lineage} | {card.stage}
    table = runs_df(root)
    rows = table[["/" not in run and _made_by(root / run) in stages for run in table.run]]
    lines = ["| run | steps | minutes | seed | commit | data |", "|---|---|---|---|---|---|"]
    for row in rows.to_dict("records"):
        data = "none" if pd.isna(row["data"]) else row["data"][:12]
        minutes = row["seconds"] / 60
        lines.append(f"| {row['run']} | {row['step']} | {minutes:.1f} | {row['seed']} | {row['commit']} | {data} |")
    return "\n".join(lines) + f"\n\nLineage: {', '.join(card.lineage) or 'none'}."


def _made_by(run: Path) -> str:
    """Stage of a run as its artefacts say it; empty if it made no checkpoint."""
    cards = [card for card in cards_of(run).values() if isinstance(card, Card)]
    return cards[0].stage if cards else ""


def _terms(card: Card) -> str:
    text = f"Licences of the data: {card.data_licence or 'none'}."
    if card.non_commercial:
        text += " Not for commercial use."
    if card.data_licence == GENERATED:
        text += " All people are drawn by the embedded world: figures show what can be learned, not human likeness."
    return text


def _figures(summary: dict[str, Any], agent: str) -> list[str]:
    rows = [row for row in summary["metrics"] if row["agent"] == agent and row["value"] is not None]
    if not rows:
        known = sorted({row["agent"] for row in summary["metrics"]})
        raise ValueError(f"the evaluation does not know {agent!r}; it has {known}")
    lines = ["| metric | value | 95 % interval | n | unit |", "|---|---|---|---|---|"]
    for row in rows:
        interval = "" if row["ci_low"] is None else f"{row['ci_low']:.3g} ... {row['ci_high']:.3g}"
        lines.append(f"| {row['metric']} | {row['value']:.3g} | {interval} | {row['n']} | {row['unit']} |")
    return [f"Evaluated at commit {summary['commit']}.", "\n".join(lines)]
