"""What another system gets and gives: inputs of every sample as media, and its films back into codec space.

Its films go through the same codecs as everything else, so that what the codecs lose is no one's advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.generate import Generated
from avatar_lab.evaluation.live import Persona
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.recording import read_recording
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.summary import write_json
from avatar_lab.layout import Layout
from avatar_lab.world.record import write_audio, write_video


def write_inputs(
    folder: Path, conversation: Conversation, user: Media, persona: Persona, script_S: np.ndarray, layout: Layout
) -> None:
    """What an avatar of this sample may know: the user's film, its own picture, voice and the turns it shall say.

    ``<sample>.user.mp4`` and ``.wav``, ``<sample>.picture.png``, ``<sample>.voice.wav``, ``<sample>.script.wav`` (the
    avatar's turns at their times, silence elsewhere); ``<sample>.json`` comes last and says what to deliver.
    """
    import matplotlib.image  # here, since every worker of an evaluation loads this file and few write pictures

    folder.mkdir(parents=True, exist_ok=True)
    name = conversation.name
    write_video(folder / f"{name}.user.mp4", user.video_PHWC, layout, user.audio_S)
    write_audio(folder / f"{name}.user.wav", user.audio_S, layout)
    matplotlib.image.imsave(folder / f"{name}.picture.png", persona.picture_HWC.numpy())
    write_audio(folder / f"{name}.voice.wav", persona.voice_S.numpy(), layout)
    write_audio(folder / f"{name}.script.wav", script_S, layout)
    height, width = user.video_PHWC.shape[1:3]
    order = {
        "sample": name,
        "seconds": conversation.seconds,
        "fps": str(layout.fps),
        "sample_rate": layout.sample_rate,
        "height": height,
        "width": width,
        "user_audio_delay": layout.user_audio_delay.total,
        "user_video_delay": layout.user_video_delay.total,
        "deliver": [f"{name}.mp4", f"{name}.wav"],
    }
    write_json(folder / f"{name}.json", order)


def films_state(folder: Path) -> list[list[object]]:
    """Name, size and time of change of everything in a folder of films; a film that changes is judged again."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in found]


def read_films(
    folder: Path,
    conversations: Sequence[Conversation],
    *,
    layout: Layout,
    audio_codec: AudioCodec,
    video_codec: VideoCodec,
) -> Generated:
    """``<folder>/<sample>.mp4`` and ``.wav`` of every conversation, encoded.

    Raises:
        Unavailable: the folder or a film is not there.
        ValueError: a film cannot be decoded, or is shorter than the conversation.
    """
    if not folder.is_dir():
        raise Unavailable(f"there is no folder {folder}; inputs=FOLDER writes what another system needs to fill it")
    spec = video_codec.spec
    tokens, latents = [], []
    for conversation in conversations:
        stem = folder / conversation.name
        missing = [path.name for path in (Path(f"{stem}.mp4"), Path(f"{stem}.wav")) if not path.is_file()]
        if missing:
            raise Unavailable(f"{folder} lacks {' and '.join(missing)}; every sample needs both")
        film = read_recording(
            stem, layout, height=spec.frame_height, width=spec.frame_width, seconds=conversation.seconds
        )
        frames = conversation.num_blocks * layout.frames_per_block
        if len(film.video_PHWC) < frames:
            raise ValueError(
                f"{stem}.mp4 and .wav last {len(film.video_PHWC) / float(layout.fps):.2f} s together, the conversation "
                f"{conversation.seconds:.2f} s: both must last as long as the inputs"
            )
        samples = conversation.num_blocks * layout.samples_per_block
        tokens.append(audio_codec.encode(torch.from_numpy(film.audio_S[None, :samples]))[0])
        latents.append(video_codec.encode(torch.from_numpy(film.video_PHWC[None, :frames]))[0])
    return Generated(tokens_BAK=torch.cat(tokens), latents_BFHWC=torch.cat(latents))
