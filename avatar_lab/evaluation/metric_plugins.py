"""The metrics that plugins find; a plugin that is not asked for leaves no rows."""

from __future__ import annotations

from avatar_lab.evaluation.metric_families import Metric

SPEECH = "decoded audio, where it sounds"
SYNCNET = "SyncNet on decoded frames and audio"
LANDMARKS = "mediapipe's landmarks in decoded frames"


def opinion(scale: str, of: str) -> Metric:
    """A mean opinion score of speech, predicted."""
    return Metric(
        name=f"dnsmos_{scale}",
        title=f"DNSMOS {scale}",
        unit="MOS",
        representation=SPEECH,
        about=f"opinion of {of}, 1 to 5, that DNSMOS P.835 predicts (Reddy et al. 2022)",
        higher_better=True,
        plugin="dnsmos",
    )


def likeness(name: str, title: str, what: str) -> Metric:
    """How much a voice is that of the person."""
    return Metric(
        name=f"{name}_speaker_similarity",
        title=f"{title} in the person's voice",
        unit="cosine",
        representation=SPEECH,
        about=f"cosine of GE2E embeddings of {what} and of the anchor's voice (Wan et al. 2018)",
        higher_better=True,
        plugin="speaker_similarity",
    )


def appearance(name: str, title: str, of: str) -> list[Metric]:
    """A Frechet distance of pictures and its floor; it is named after its network, since another one finds another."""
    made = (
        f"Frechet distance of features of {of}, pooled; half of the truth against what was made of the other half. Not "
        "FID, not FVD (Unterthiner et al. 2018): their networks are others"
    )
    floor = "the same of half of the truth against the other half; what lies at it cannot be told from the truth"
    return [
        Metric(
            name=f"mobilenet_{name}_fd{ending}",
            title=f"{title} (MobileNetV2-FD){more}",
            unit="squared features",
            representation="last 320 channels of MobileNetV2 on decoded frames",
            about=about,
            higher_better=better,
            plugin="frechet_video",
        )
        for ending, more, about, better in (("", "", made, False), ("_floor", ", floor", floor, None))
    ]


PLUGIN_METRICS = [
    opinion("overall", "the avatar's speech"),
    opinion("signal", "how clean the voice itself is"),
    opinion("background", "how little the background disturbs"),
    likeness("reaction", "reactions", "vocal reactions"),
    likeness("speech", "speech", "all speech (a script's own, where there is one)"),
    Metric(
        name="word_error_rate",
        title="words lost",
        unit="share",
        representation="what Whisper tiny.en hears in decoded audio",
        about="word error rate in the script's turns against what is heard of the recorded person (Whisper; Radford et "
        "al. 2022); who is given the script in sounds loses none, who speaks without one says other words",
        higher_better=False,
        plugin="word_error_rate",
    ),
    Metric(
        name="face_identity_distance",
        title="face unlike the picture",
        unit="distance",
        representation="dlib's face embedding of one decoded frame a second",
        about="mean distance of the faces seen to that of the anchor picture; below .6 is the same person (King 2017)",
        higher_better=False,
        plugin="face_identity",
    ),
    Metric(
        name="face_found_share",
        title="face to be seen",
        unit="share",
        representation="dlib's face detector on one decoded frame a second",
        about="share of frames in which a face is found (histograms of gradients; Dalal & Triggs 2005)",
        higher_better=True,
        plugin="face_identity",
    ),
    Metric(
        name="landmark_lip_correlation",
        title="lip sync by landmarks",
        unit="r",
        representation=f"{LANDMARKS}, envelope of decoded audio",
        about="largest correlation, over lags, of the distance of the inner lips, as a share of the eye distance, with "
        "the envelope of the avatar's own voice (after Chung & Zisserman 2016)",
        higher_better=True,
        plugin="face_landmarks",
    ),
    Metric(
        name="landmark_lip_lag_ms",
        title="lip lag by landmarks",
        unit="ms",
        representation=f"{LANDMARKS}, envelope of decoded audio",
        about="lag at that correlation; positive = the mouth follows the sound",
        plugin="face_landmarks",
    ),
    Metric(
        name="landmark_blink_rate",
        title="blinks by landmarks",
        unit="1/min",
        representation=LANDMARKS,
        about="falls of the eye aspect ratio by three tenths, for up to half a second, per minute with a face "
        "(Soukupova & Cech 2016); people's 17 to 26 are normal",
        plugin="face_landmarks",
    ),
    Metric(
        name="landmark_jitter",
        title="trembling of the face",
        unit="% of eye distance",
        representation=LANDMARKS,
        about="distance of eye corners and bridge of the nose from the middle between a frame before and after, as "
        "noise (Gasser et al. 1986); more than the recorded person's is trembling, a frozen picture's the mesh's own",
        plugin="face_landmarks",
    ),
    Metric(
        name="landmark_face_share",
        title="face to be followed",
        unit="share",
        representation=LANDMARKS,
        about="share of frames in which a face is found or followed (Kartynnik et al. 2019)",
        higher_better=True,
        plugin="face_landmarks",
    ),
    *appearance("frame", "pictures", "frames"),
    *appearance("motion", "changes of pictures", "changes within .2 s"),
    Metric(
        name="syncnet_distance",
        title="LSE-D",
        unit="distance",
        representation=SYNCNET,
        about="distance of mouth and sound at the best of 31 lags, while the avatar speaks (Prajwal et al. 2020)",
        higher_better=False,
        plugin="syncnet",
    ),
    Metric(
        name="syncnet_confidence",
        title="LSE-C",
        unit="distance",
        representation=SYNCNET,
        about="median of that distance over 31 lags minus its least (Chung & Zisserman 2016)",
        higher_better=True,
        plugin="syncnet",
    ),
    Metric(
        name="syncnet_lag_ms",
        title="lip lag by SyncNet",
        unit="ms",
        representation=SYNCNET,
        about="lag of the least distance; positive = the mouth follows the sound",
        plugin="syncnet",
    ),
]
