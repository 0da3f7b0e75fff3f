"""What a sound file is, by its header. Needs the library soundfile (libsndfile): ``pip install "qflux-hub[audio]"``.

It reads wav, flac, ogg and mp3; not what lies in video containers, such as m4a.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import BinaryIO

READ = ("wav", "flac", "ogg", "mp3")
"""The containers that it reads."""
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """What is known of a sound. ``frames``: values of each channel; ``rate``: how many a second."""

    channels: int
    frames: int
    rate: int

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.frames / self.rate


class NotASoundError(Exception):
    """A file that cannot be heard; what it says is why."""


def is_available() -> bool:
    """Whether the library is installed that reads sounds."""
    return find_spec("soundfile") is not None


def look_at_sound(file: BinaryIO, *, decode: bool = False) -> SoundFacts:
    """The facts of an open sound, from its header; with ``decode``, all of it is decoded. Raises NotASoundError."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            facts = SoundFacts(sound.channels, sound.frames, sound.samplerate)
            heard = sum(len(block) for block in sound.blocks(_BLOCK, dtype="float32")) if decode else facts.frames
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise NotASoundError(str(error).rstrip(".")) from error
    if not facts.frames or not facts.rate:
        raise NotASoundError("it holds no sound")
    if heard < facts.frames:
        raise NotASoundError(f"{facts.frames:,} values were written, {heard:,} can be read")
    return facts
