"""What a metric is, and the families of metrics that share unit, direction and wording."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a number is: its unit, which way is better (``None``: neither) and the signal it was read from."""

    name: str
    title: str
    unit: str
    representation: str
    about: str
    higher_better: bool | None = None
    plugin: str | None = None
    """Name of the plugin that measures it; ``None``: it is always measured."""


JAW = "jaw from pixels, envelope of decoded audio"
PITCH = "head pitch from pixels"
HEAD = "head pitch and yaw from pixels"
VOICE = "energy VAD on decoded audio"
SMILE = "smile from pixels"
LIDS = "eyelids from pixels"
FACE = "all channels from pixels, in deviations of the truth"
SPECTRA = "log-mel spectra of decoded audio, in deviations of the truth"
TOKENS = "audio tokens"
F0 = "F0 of voiced frames of decoded audio"
ANY = "all reactions, from pixels and decoded audio"


def response(name: str, title: str, representation: str, behaviour: str, cue: str, good: bool | None) -> list[Metric]:
    """A response and the two rates whose difference it is."""
    window = ".2-1.5 s after"
    return [
        Metric(
            name=f"{name}_response",
            title=title,
            unit="probability",
            representation=representation,
            about=f"P({behaviour} {window} {cue}) - P(same {window} matched moments without)",
            higher_better=good,
        ),
        Metric(
            name=f"{name}_after_cue",
            title=f"P({behaviour} | cue)",
            unit="probability",
            representation=representation,
            about=f"P({behaviour} {window} {cue})",
        ),
        Metric(
            name=f"{name}_without_cue",
            title=f"P({behaviour} | no cue)",
            unit="probability",
            representation=representation,
            about=f"P({behaviour} {window} matched moments without a cue)",
        ),
    ]


def rate(name: str, title: str, representation: str) -> Metric:
    """Events per minute."""
    return Metric(
        name=f"{name}_rate",
        title=title,
        unit="1/min",
        representation=representation,
        about=f"{title} per minute, whatever the user does",
    )


def placement(name: str, title: str, representation: str) -> list[Metric]:
    """Where the reactions of one kind are, against those of the recorded avatar."""
    return [
        Metric(
            name=f"{name}_placement_auc",
            title=f"{title} in place",
            unit="AUC",
            representation=representation,
            about=f"P({title} nearer to a true one than to a matched moment without); .5 is chance at any rate",
            higher_better=True,
        ),
        Metric(
            name=f"{name}_precision",
            title=f"{title} that are true",
            unit="share",
            representation=representation,
            about=f"share of {title} with a true one within .5 s, one to one",
            higher_better=True,
        ),
        Metric(
            name=f"{name}_recall",
            title=f"true {title} that are met",
            unit="share",
            representation=representation,
            about=f"share of the recorded avatar's {title} with one of the agent within .5 s, one to one",
            higher_better=True,
        ),
    ]


def by_role(name: str, title: str, representation: str) -> list[Metric]:
    """Events per minute of speaking and of listening."""
    return [
        Metric(
            name=f"{name}_rate_{role}",
            title=f"{title} while {role}",
            unit="1/min",
            representation=representation,
            about=f"{title} per minute of {role}",
        )
        for role in ("speaking", "listening")
    ]


def variety(name: str, representation: str) -> list[Metric]:
    """Variance and jerk against the truth."""
    return [
        Metric(
            name=f"{name}_variance_ratio",
            title=f"{name} variance",
            unit="ratio",
            representation=representation,
            about="variance over time, as a share of the recorded avatar's; 1 is best, 0 is frozen",
        ),
        Metric(
            name=f"{name}_jerk_ratio",
            title=f"{name} jerk",
            unit="ratio",
            representation=representation,
            about="mean third difference, as a share of the recorded avatar's; 1 is best, more is jitter",
        ),
    ]


def coupling(name: str, representation: str) -> list[Metric]:
    """How far motion goes with the user's, by four instruments."""
    return [
        Metric(
            name=f"{name}_coupling",
            title=f"{name} coupling",
            unit="r",
            representation=representation,
            about="largest correlation with the user's, up to 2 s later, minus its mean at circular shifts > 10 s",
        ),
        Metric(
            name=f"{name}_rpcc",
            title=f"{name} rPCC",
            unit="r",
            representation=representation,
            about="mean over lags up to 2 s of |r(truth, user) - r(agent, user)|",
            higher_better=False,
        ),
        Metric(
            name=f"{name}_wclc",
            title=f"{name} in moments",
            unit="z",
            representation=representation,
            about="mean peak of the correlation with the user's in windows of 7 s, minus that at shifts over 10 s",
        ),
        Metric(
            name=f"{name}_dyad_coupling",
            title=f"{name} own user",
            unit="r",
            representation=representation,
            about="largest correlation up to 2 s later with the own user, minus that with the users of other dyads",
        ),
        Metric(
            name=f"{name}_dyad_coupling_p",
            title=f"p of {name} own user",
            unit="p",
            representation=representation,
            about="permutation of users among dyads: how often the coupling is as large by chance",
            higher_better=False,
        ),
    ]


def turn(name: str, title: str, unit: str, about: str, good: bool | None = None) -> Metric:
    """A figure of turn-taking."""
    return Metric(name=name, title=title, unit=unit, representation=VOICE, about=about, higher_better=good)


def distribution(name: str, title: str, about: str, representation: str = FACE) -> list[Metric]:
    """A Frechet distance and its floor."""
    return [
        Metric(
            name=name,
            title=title,
            unit="squared deviations",
            representation=representation,
            about=f"Frechet distance of {about}, pooled; half of the truth against what was made of the other half",
            higher_better=False,
        ),
        Metric(
            name=f"{name}_floor",
            title=f"{title}, floor",
            unit="squared deviations",
            representation=representation,
            about="the same of half of the truth against the other half; what lies at it cannot be told from the truth",
        ),
    ]


def slope(name: str) -> Metric:
    """Drift of a property of the picture."""
    return Metric(
        name=f"{name}_drift",
        title=f"drift of {name}",
        unit="%/min",
        representation="pixels",
        about="Theil-Sen slope of the logarithm of the mean in windows of 10 s; 0 is best",
    )
