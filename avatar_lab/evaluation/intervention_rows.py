"""``interventions.parquet``: one row per agent, intervention and question, with the family's adjusted p-values.

The raw answers lie beside it, one json per agent and intervention, so that a run can be resumed; the family is what was
asked of one agent in one evaluation, and is only known when all of it is listed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from avatar_lab.evaluation.answers import Answer, passes
from avatar_lab.evaluation.equivalence import ALPHA, Conclusion
from avatar_lab.evaluation.experiment import Expected
from avatar_lab.evaluation.multiplicity import holm
from avatar_lab.evaluation.rows import Status
from avatar_lab.evaluation.statistics import Estimate
from avatar_lab.evaluation.summary import write_json

TESTED = (Expected.INCREASES, Expected.DECREASES, Expected.MOVES)
"""Expectations whose test belongs to the family: those that a chance finding would meet."""
NOT_ANSWERING = ("yoked", "random_clip", "frozen")
INTERVENTION_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("agent", pa.string()),
        ("intervention", pa.string()),
        ("question", pa.string()),
        ("expected", pa.string()),
        ("unit", pa.string()),
        ("effect", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("control", pa.float64()),
        ("treated", pa.float64()),
        ("dyads", pa.int64()),
        ("units", pa.int64()),
        ("p", pa.float64()),
        ("p_adjusted", pa.float64()),
        ("equivalence", pa.string()),
        ("margin", pa.float64()),
        ("power", pa.float64()),
        ("passed", pa.bool_()),
        ("gating", pa.bool_()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("config_sha", pa.string()),
    ]
)


def write_answers(path: Path, answers: Sequence[Answer], config_sha: str) -> None:
    """The raw answers of one agent to one intervention."""
    plain = [asdict(answer) | {"expected": str(answer.expected)} for answer in answers]
    write_json(path, {"config_sha": config_sha, "answers": plain})


def read_answers(path: Path, config_sha: str) -> list[Answer] | None:
    """Inverse of :func:`write_answers`; ``None`` where there are none of these settings."""
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    return _answers(stored["answers"]) if stored["config_sha"] == config_sha else None


def _answers(plain: Sequence[Mapping[str, Any]]) -> list[Answer]:
    return [
        Answer(
            **{
                **row,
                "expected": Expected(row["expected"]),
                "effect": Estimate(**row["effect"]),
                "equivalence": None if row["equivalence"] is None else Conclusion(row["equivalence"]),
            }
        )
        for row in plain
    ]


def rows_of_agent(agent: str, answers: Sequence[Answer], *, run_id: str, config_sha: str) -> list[dict[str, Any]]:
    """Rows of everything that was asked of one agent, which is one family; what its script decides was not asked."""
    names = {id(answer): f"{answer.experiment}/{answer.question}" for answer in answers}
    tested = [answer for answer in answers if answer.expected in TESTED and not answer.given]
    adjusted = holm({names[id(answer)]: answer.p for answer in tested}, [names[id(answer)] for answer in tested])
    rows = []
    for answer in answers:
        p_adjusted = adjusted.get(names[id(answer)])
        rows.append(
            {
                "run_id": run_id,
                "agent": agent,
                "intervention": answer.experiment,
                "question": answer.question,
                "expected": str(answer.expected),
                "unit": answer.unit,
                "effect": answer.effect.value,
                "ci_low": answer.effect.low,
                "ci_high": answer.effect.high,
                "control": answer.control,
                "treated": answer.treated,
                "dyads": answer.effect.dyads,
                "units": answer.units,
                "p": answer.p,
                "p_adjusted": p_adjusted,
                "equivalence": None if answer.equivalence is None else str(answer.equivalence),
                "margin": answer.margin,
                "power": answer.power,
                "passed": passes(answer, p_adjusted, alpha=ALPHA),
                "gating": None,
                "status": str(_status(answer)),
                "reason": answer.reason,
                "config_sha": config_sha,
            }
        )
    return rows


def _status(answer: Answer) -> Status:
    if answer.given:
        return Status.GIVEN
    return Status.OK if answer.reason is None else Status.UNDEFINED


def unavailable_row(agent: str, intervention: str, reason: str, *, run_id: str, config_sha: str) -> dict[str, Any]:
    """An intervention that could not be made, and why."""
    empty: dict[str, Any] = dict.fromkeys(INTERVENTION_SCHEMA.names)
    return empty | {
        "run_id": run_id,
        "agent": agent,
        "intervention": intervention,
        "question": "",
        "expected": "",
        "status": str(Status.UNAVAILABLE),
        "reason": reason,
        "config_sha": config_sha,
    }


def mark_gating(rows: Sequence[dict[str, Any]]) -> None:
    """Say of every row whether its question may gate: the oracle passes it, and nobody passes who does not answer.

    Questions that ask for no change are passed by those who do nothing; they gate if the oracle passes. Where no oracle
    was asked, nothing is known, and nothing gates.
    """
    passed = {(row["agent"], row["intervention"], row["question"]): row["passed"] for row in rows}
    for row in rows:
        key = row["intervention"], row["question"]
        others = [passed[agent, *key] for agent in NOT_ANSWERING if (agent, *key) in passed]
        told_apart = row["expected"] not in TESTED or (bool(others) and not any(others))
        exact = row["expected"] == Expected.BIT_EXACT
        row["gating"] = exact or (passed.get(("oracle", *key)) is True and told_apart)


def write_interventions(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the table, replacing it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=INTERVENTION_SCHEMA), partial)
    partial.replace(path)


def interventions_df(path: Path) -> pd.DataFrame:
    """The table of one evaluation.

    Raises:
        ValueError: there is none, or it has other columns.
    """
    if not path.is_file():
        raise ValueError(f"there is no {path}: run `avatar-lab evaluate ... interventions=[A1,A4,V1]` first")
    table = pq.read_table(path)
    if table.schema.names != INTERVENTION_SCHEMA.names:
        raise ValueError(f"{path} has columns {table.schema.names}: remove it and evaluate again")
    return table.to_pandas()
