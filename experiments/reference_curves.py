"""What healthy quickstarts look like, as bands over their seeds, and whether a run looks like them.

    python experiments/reference_curves.py write outputs/seed_0 outputs/seed_1 outputs/seed_2
    python experiments/reference_curves.py check outputs/mine [--plot mine.png]

``write`` makes ``reference_curves.json`` and ``.png`` beside this file: of every stage and logged quantity the least,
mean and most over seeds, each point the mean of a bin of rows, and the same of the report's metrics.

``check`` compares by step, a run under way as far as it has come, and by ratio: noise is in proportion, and where few
tokens are at a noise level a mean spans decades. The width of a band at a step is its own, or if that is more, the root
mean square of the whole band's, or a ratio of 1.1: few seeds agree by chance. A stage is unlike the reference where a
quantity lies more than 3 widths outside its band at two points in a row, or 6 at one, or is no number, or updates were
left out. Exit code: 0 none is unlike it, 1 one is, 2 nothing was compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import LogFormatter

from avatar_lab.evaluation.statistics import Array
from avatar_lab.evaluation.summary import write_json
from avatar_lab.figure_style import STYLE, axes_in_rows
from avatar_lab.run_table import config_of, rows_of, starts_of

STAGES = ("teacher", "autoregressive", "initialise", "self_forcing", "preference", "see_teacher", "see")
REFERENCE = Path(__file__).with_suffix(".json")
POINTS = 25
"""At most so many per curve."""
MARGIN, FAR, LEAST_WIDTH = 3.0, 6.0, 1.1
"""See above. In imitations of one recorded run (seed 1, 7dffb2a; its noise, seeds 5 % apart) one stage in ninety was
unlike the band of two others, none of 720 that of three."""
BAND = ("least", "mean", "most")


def read_log(run: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """What a run logged, by step, and what of it no healthy run has, by quantity. Steps that a resumed run went over
    again are as they were the last time."""
    rows: list[dict[str, Any]] = []
    for row in rows_of(run):
        while rows and rows[-1]["step"] >= row["step"]:
            rows.pop()
        rows.append(row)
    ills: dict[str, str] = {}
    for row in rows:
        for name, value in row.items():
            if name.endswith("/skipped"):  # non-finite losses are not in the log, but their updates are counted
                ills.setdefault(name, f"updates left out, first before step {row['step']} (odd_steps.jsonl says which)")
            elif value is None or not np.isfinite(value):
                ills.setdefault(name, f"not a number from step {row['step']} on")
    shown = {name for row in rows for name in row if "/" in name and not name.endswith(("/lr", "/skipped"))}
    frame = pd.DataFrame(rows, columns=["step", *sorted(shown)], dtype=np.float64)
    return frame.set_index("step").replace([np.inf, -np.inf], np.nan), ills


def binned(log: pd.DataFrame, ends: Sequence[float]) -> pd.DataFrame:
    """Means of the rows after one end up to the next; NaN where there are none, or where more may come."""
    means = log.groupby(np.searchsorted(ends, log.index)).mean().reindex(range(len(ends)))
    return means.where(pd.Series(np.asarray(ends) <= log.index.max()))


def band_of(values_SN: Array) -> dict[str, list[float | None]]:
    """Over seeds, to 4 digits; null where one of them has no value."""
    bands = (values_SN.min(0), values_SN.mean(0), values_SN.max(0))
    rounded = [[float(f"{value:.4g}") if np.isfinite(value) else None for value in band_N] for band_N in bands]
    return dict(zip(BAND, rounded, strict=True))


def curves_of(band: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """Least, mean and most, (N,) each; NaN where undefined."""
    least_N, mean_N, most_N = (np.array(band[part], dtype=np.float64) for part in BAND)
    return least_N, mean_N, most_N


def make_reference(roots: Sequence[Path]) -> dict[str, Any]:
    """The reference that finished quickstarts make.

    Raises:
        ValueError: they are fewer than two, not finished, of one seed, not of one length, or sick.
    """
    if len(roots) < 2:
        raise ValueError(
            "a band takes at least two finished quickstarts of different seeds; make another with "
            "bash experiments/quickstart.sh --seed 1 --out outputs/seed_1"
        )
    for root in roots:
        for path in (*(root / stage / "done.json" for stage in STAGES), root / "report" / "summary.json"):
            if not path.is_file():
                raise ValueError(f"{root} is not finished (no {path}): the command that began it goes on with it")
    seeds = [config_of(root / STAGES[0])["seed"] for root in roots]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {seeds}, but one counted twice makes the band too narrow: one root per seed")
    summaries = [json.loads((root / "report" / "summary.json").read_text()) for root in roots]
    metrics = pd.DataFrame([metrics_of(summary) for summary in summaries]).dropna(axis="columns")
    return {
        "seeds": seeds,
        "commits": sorted({starts_of(root / stage)[-1]["commit"] for root in roots for stage in STAGES}),
        "hardware": [machine for machine, _ in groupby(summary["hardware"] for summary in summaries)],
        "stages": {stage: stage_bands([root / stage for root in roots]) for stage in STAGES},
        "metrics": {str(n): {part: one for part, (one,) in band_of(metrics[[n]].to_numpy()).items()} for n in metrics},
    }


def stage_bands(runs: Sequence[Path]) -> dict[str, Any]:
    """Steps, ends of bins and bands of one stage."""
    steps = [config_of(run)["training"]["steps"] for run in runs]
    if len(set(steps)) > 1:
        raise ValueError(f"{', '.join(map(str, runs))} are of {steps} steps: give roots of one configuration")
    logs = [read_log(run) for run in runs]
    for run, (_, ills) in zip(runs, logs, strict=True):
        if ills:
            raise ValueError(f"{run} is no reference, since it is sick ({ills}): leave this root out")
    logged = sorted({step for log, _ in logs for step in log.index})
    every = max(1, -(-len(logged) // POINTS))
    ends = sorted({*logged[every - 1 :: every], *logged[-1:]})
    bins = [binned(log, ends) for log, _ in logs]
    shared = [name for name in (bins[0] if ends else []) if all(name in each for each in bins)]
    bands = {name: band_of(np.array([each[name] for each in bins])) for name in shared}
    curves = {name: band for name, band in bands.items() if np.isfinite(curves_of(band)[1]).any()}
    return {"steps": steps[0], "ends": ends, "curves": curves}


def metrics_of(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """``agent/metric`` of a report."""
    return {f"{cell['agent']}/{cell['metric']}": cell["value"] for cell in summary["metrics"]}


def compare(own_N: Array, band: Mapping[str, Any], ends: Sequence[float]) -> tuple[str, bool]:
    """One quantity of a run beside its band where both have values: in words, and whether it is unlike it."""
    least_N, mean_N, most_N = curves_of(band)
    low_N, high_N, value_N = (np.log(np.maximum(curve_N, 1e-12)) for curve_N in (least_N, most_N, own_N))
    span_N = high_N - low_N
    width_N = np.maximum(span_N, max(np.log(LEAST_WIDTH), float(np.sqrt(np.nanmean(span_N**2)))))
    outside_N = np.maximum(value_N - high_N, low_N - value_N) / width_N
    places = np.flatnonzero(np.isfinite(outside_N))
    if not len(places):
        return "nothing logged yet where the reference has values", False
    far_N = np.where(outside_N[places] > MARGIN, np.sign(own_N - mean_N)[places], 0)
    pairs = np.flatnonzero(far_N[1:] * far_N[:-1] > 0)
    unlike = np.union1d(np.union1d(pairs, pairs + 1), np.flatnonzero(outside_N[places] > FAR))
    worst = places[outside_N[places].argmax()]
    if outside_N[worst] <= 0.01:  # bands are rounded
        return "inside", False
    how = (
        f"{outside_N[worst]:.1f} widths {'above' if own_N[worst] > mean_N[worst] else 'below'} at step "
        f"{ends[worst]:.0f} ({own_N[worst]:.4g}; seeds {least_N[worst]:.4g} ... {most_N[worst]:.4g})"
    )
    if not len(unlike):
        return f"within the margin: {how}", False
    first, last = (int(place) for place in unlike[[0, -1]])
    until = "on" if last == len(places) - 1 and far_N[first:].all() else f"to {ends[places[last]]:.0f}"
    return f"unlike from step {ends[places[first]]:.0f} {until}: {how}", True


def check_stage(reference: Mapping[str, Any], run: Path) -> tuple[dict[str, tuple[str, bool]], str]:
    """What is found of every quantity of a stage, and the verdict in words."""
    log, ills = read_log(run)
    if log.empty or not reference["curves"]:
        why = f"no rows in {run / 'metrics.jsonl'}" if reference["curves"] else "none in the reference"
        return {}, f"nothing to compare ({why})"
    own, reached, steps = binned(log, reference["ends"]), int(log.index.max()), reference["steps"]
    found = {name: (text, True) for name, text in ills.items()}
    for name, band in reference["curves"].items():
        if name not in found:
            absent = "absent", False
            found[name] = compare(own[name].to_numpy(), band, reference["ends"]) if name in own else absent
    unlike = [f"{name} {text.split(':')[0]}" for name, (text, bad) in found.items() if bad]
    extent = "" if reached == steps else f" (up to step {min(reached, steps)}: it has {reached}, the reference {steps})"
    return found, (f"unlike it: {'; '.join(unlike)}" if unlike else "as the reference") + extent


def check(root: Path, reference: Mapping[str, Any]) -> int:
    """Say how every stage of ``root`` stands to the reference; the exit code.

    Raises:
        ValueError: there is no stage to compare.
    """
    if not any((root / stage / "metrics.jsonl").is_file() for stage in STAGES):
        raise ValueError(f"no stage below {root} has logged anything yet: give the folder of a quickstart")
    code = 0
    for stage, expected in reference["stages"].items():
        found, verdict = check_stage(expected, root / stage)
        for name, (text, unlike) in found.items():
            sys.stdout.write(f"  {stage:<14} {name:<30} {text}\n")
            code |= unlike
        sys.stdout.write(f"{stage}: {verdict}\n")
    path = root / "report" / "summary.json"
    for name, value in (metrics_of(json.loads(path.read_text())) if path.is_file() else {}).items():
        band = reference["metrics"].get(name)
        if band and value is not None and not band["least"] <= float(f"{value:.4g}") <= band["most"]:
            text = f"{value:.4g}; seeds {band['least']} ... {band['most']} (no verdict: see its interval)"
            sys.stdout.write(f"  {'report':<14} {name:<30} {text}\n")
    return code


def panel_of(name: str) -> tuple[str, str]:
    """Panel and label of a quantity: those of a kind share a panel."""
    role, kind, *rest = name.split("/")
    if kind == "loss":
        return f"loss, {rest[0]}", role
    if rest and rest[0].startswith("noise_"):
        return f"{kind}, by noise", f"above {float(rest[0].removeprefix('noise_')):g}"
    return kind.replace("_", " "), " ".join([role, *rest]).replace("_", " ")


def draw(reference: Mapping[str, Any], to: Path, root: Path | None = None) -> None:
    """One row of panels per stage: bands and means over seeds, and the curves of ``root`` over them."""
    stages = {stage: found for stage, found in reference["stages"].items() if found["curves"]}
    panels: dict[str, dict[str, list[str]]] = {stage: {} for stage in stages}
    for stage, found in stages.items():
        for name in sorted(found["curves"], key=lambda name: ("/loss/" not in name, panel_of(name))):
            panels[stage].setdefault(panel_of(name)[0], []).append(name)
    columns = max(map(len, panels.values()))
    with mpl.rc_context(STYLE):
        figure, axes = axes_in_rows(columns * len(stages), columns=columns, height=2.3, width=16.0)
        for row, (stage, found) in enumerate(stages.items()):
            log = None if root is None else read_log(root / stage)[0]
            for column, ax in enumerate(axes[row * columns : (row + 1) * columns]):
                ax.set_visible(column < len(panels[stage]))
                if ax.get_visible():
                    title = list(panels[stage])[column]
                    draw_panel(ax, {name: found["curves"][name] for name in panels[stage][title]}, found["ends"], log)
                    ax.set_title(f"{stage}: {title}")
        seeds = f"least, mean and most over seeds {', '.join(map(str, reference['seeds']))}, by step"
        run = "" if root is None else f"; dashed: {root}"
        figure.suptitle(f"{seeds} (commit {', '.join(reference['commits'])}){run}", fontsize=9)
        FigureCanvasAgg(figure).print_png(to)


def draw_panel(ax: Axes, bands: Mapping[str, Any], ends: Sequence[float], log: pd.DataFrame | None) -> None:
    """Bands of one kind of quantity, and a run's own curves, where it has any."""
    drawn = []
    for index, (name, band) in enumerate(bands.items()):
        least_N, mean_N, most_N = curves_of(band)
        ax.fill_between(ends, least_N, most_N, color=f"C{index}", alpha=0.3, lw=0)
        ax.plot(ends, mean_N, color=f"C{index}", lw=1, label=panel_of(name)[1])
        drawn += [least_N, most_N]
        if log is not None and name in log:
            drawn.append(binned(log, ends)[name].to_numpy())
            ax.plot(ends, drawn[-1], color=f"C{index}", lw=1.2, ls="--", marker=".", ms=4)
    if 0 < 10 * np.nanmin(drawn) < np.nanmax(drawn):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    ax.legend(loc="best", fontsize=7.5)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="the json file; its picture lies beside it")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write", help="make the reference").add_argument("roots", type=Path, nargs="+")
    checking = commands.add_parser("check", help="compare a run, finished or not")
    checking.add_argument("root", type=Path)
    checking.add_argument("--plot", type=Path, help="picture of its curves over the bands")
    options = parser.parse_args(arguments)
    try:
        if options.command == "write":
            made = make_reference(options.roots)
            write_json(options.reference, made)
            draw(made, options.reference.with_suffix(".png"))
            return 0
        if not options.reference.is_file():
            raise ValueError(f"there is no {options.reference}: make it by write, from finished quickstarts")
        reference = json.loads(options.reference.read_text())
        code = check(options.root, reference)
        if options.plot is not None:
            draw(reference, options.plot, options.root)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
