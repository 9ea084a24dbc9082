"""A stretch of a conversation as a drawing: who speaks, what else they do, an arrow from every cue to its response."""

from __future__ import annotations

from html import escape

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.dialogue import SIDES, Dialogue

_WIDTH, _ROW, _LEFT, _BAR = 1200, 19, 92, 12
_VOCAL = "voice"
_LANES = (
    (_VOCAL, (EventType.IPU, EventType.BACKCHANNEL, EventType.LAUGH, EventType.BRIEF_INTERRUPTION)),
    ("cues in speech", (EventType.LOW_PITCH, EventType.PAUSE, EventType.HESITATION, EventType.CLOSING)),
    ("floor", (EventType.INTERRUPTION, EventType.YIELD, EventType.TURN_START)),
    ("head, hand", (EventType.NOD, EventType.LEAN, EventType.HAND_RAISE)),
    ("face", (EventType.SMILE, EventType.GAZE_AWAY)),
)
_COLOURS = {
    EventType.IPU: "#9db7c9",
    EventType.BACKCHANNEL: "#e08a3c",
    EventType.LAUGH: "#d1495b",
    EventType.BRIEF_INTERRUPTION: "#6a4c93",
    EventType.LOW_PITCH: "#2a7f9e",
    EventType.PAUSE: "#b9bec4",
    EventType.HESITATION: "#6a4c93",
    EventType.CLOSING: "#c7b98a",
    EventType.INTERRUPTION: "#6a4c93",
    EventType.YIELD: "#c0392b",
    EventType.TURN_START: "#2f855a",
    EventType.NOD: "#2f855a",
    EventType.LEAN: "#8f7a5c",
    EventType.HAND_RAISE: "#c0392b",
    EventType.SMILE: "#edae49",
    EventType.GAZE_AWAY: "#b0b6bd",
}


def timeline(dialogue: Dialogue, start: float, end: float) -> str:
    """SVG of the events between ``start`` and ``end``, the first side above the second."""
    scale = (_WIDTH - _LEFT) / (end - start)
    row_of = {(side, kind): place for side, place, kind in _rows()}
    height = _ROW * (2 * len(_LANES) + 2)
    shown = [e for e in dialogue.events if (e.side, e.type) in row_of and e.end >= start and e.start < end]

    def x(time: float) -> float:
        return _LEFT + scale * (min(max(time, start), end) - start)

    def y(event: Event) -> float:
        return _ROW * (row_of[event.side, event.type] + 0.5)

    parts = [f"<svg viewBox='0 0 {_WIDTH} {height + 22}' role='img'>", _ruler(start, end, scale, height)]
    for place, side in enumerate(SIDES):
        for lane, (name, _) in enumerate(_LANES):
            top = _ROW * (place * (len(_LANES) + 1) + lane + 1)
            parts.append(f"<text x='0' y='{top}' class='lane'>{side} &#183; {escape(name)}</text>")
    for event in shown:
        width = max(scale * (min(event.end, end) - max(event.start, start)), 3)
        parts.append(
            f"<rect x='{x(event.start):.1f}' y='{y(event):.1f}' width='{width:.1f}' height='{_BAR}' rx='3' "
            f"fill='{_COLOURS[event.type]}'><title>{escape(_title(event))}</title></rect>"
        )
    by_id = {event.event_id: event for event in shown}
    for event in shown:
        cue = by_id.get(event.cause_id) if event.cause_id is not None else None
        if cue is not None and cue.side != event.side:
            from_x, from_y, to_x, to_y = x(cue.start) + 2, y(cue) + _BAR / 2, x(event.start), y(event) + _BAR / 2
            bend = (from_y + to_y) / 2
            parts.append(
                f"<path d='M{from_x:.1f} {from_y:.1f} C{from_x:.1f} {bend:.1f} {to_x:.1f} {bend:.1f} "
                f"{to_x:.1f} {to_y:.1f}' class='cause'/><circle cx='{to_x:.1f}' cy='{to_y:.1f}' r='2.4'/>"
            )
    return "".join([*parts, "</svg>"])


def legend() -> str:
    """Colours of the events as a line of HTML."""
    return " ".join(
        f"<span class='key'><i style='background:{colour}'></i>{escape(kind.replace('_', ' '))}</span>"
        for kind, colour in _COLOURS.items()
    )


def _rows() -> list[tuple[str, int, EventType]]:
    gap = len(_LANES) + 1
    return [
        (side, place * gap + lane, kind)
        for place, side in enumerate(SIDES)
        for lane, (_, kinds) in enumerate(_LANES)
        for kind in kinds
    ]


def _ruler(start: float, end: float, scale: float, height: int) -> str:
    seconds = range(int(start), int(end) + 1, 2)
    lines = [
        f"<line x1='{_LEFT + scale * (s - start):.1f}' x2='{_LEFT + scale * (s - start):.1f}' y1='4' y2='{height}' "
        f"class='tick'/><text x='{_LEFT + scale * (s - start):.1f}' y='{height + 14}' class='second'>{s} s</text>"
        for s in seconds
        if s >= start
    ]
    return "".join(lines)


def _title(event: Event) -> str:
    late = "" if event.delay is None else f", {event.delay:.2f} s after its cue"
    return f"{event.side}: {event.type.replace('_', ' ')} at {event.start:.2f} s{late}"
