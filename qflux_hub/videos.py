"""What a video file is, by its header and its first frame.

Sizes are pixels, as displayed: a turn by a quarter that the file asks for swaps width and height. Needs the library av
(FFmpeg's readers), which only who has videos installs: ``pip install "qflux-hub[video]"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known of a video. ``frames``: how many there are; ``rate``: how many a second, 0 where none is said."""

    width: int
    height: int
    frames: int
    rate: float

    @property
    def seconds(self) -> float:
        """How long it takes; 0 where that is not known."""
        return self.frames / self.rate if self.rate else 0.0


class NotAVideoError(Exception):
    """A file that cannot be shown; what it says is why."""


def is_available() -> bool:
    """Whether the library is installed that reads videos."""
    return find_spec("av") is not None


def look_at_video(file: BinaryIO, *, decode: bool = False) -> VideoFacts:
    """The facts of an open video, from its header and first frame; with ``decode``, every frame is decoded.

    Where the header does not say how many frames there are, they are counted, which reads the whole file. Sound is not
    looked at. Raises NotAVideoError.
    """
    import av

    try:
        with av.open(file, "r") as container:
            if not container.streams.video:
                raise NotAVideoError("it holds no pictures")
            stream = container.streams.video[0]
            frames = container.decode(stream)
            first = next(frames, None)
            if first is None:
                raise NotAVideoError("it holds no pictures")
            if decode:
                count = 1 + sum(1 for _ in frames)
            elif not (count := stream.frames):
                container.seek(0)
                count = sum(packet.size > 0 for packet in container.demux(stream))
            size = (first.width, first.height)
            width, height = size if first.rotation % 180 == 0 else size[::-1]
            return VideoFacts(width, height, count, float(stream.average_rate or 0))
    except av.error.FFmpegError as error:
        raise NotAVideoError(error.strerror or str(error)) from error


def first_picture(file: BinaryIO) -> Image.Image:
    """The first frame of an open video, as it is displayed. Raises NotAVideoError."""
    import av

    try:
        with av.open(file, "r") as container:
            frame = next(container.decode(video=0), None) if container.streams.video else None
            if frame is None:
                raise NotAVideoError("it holds no pictures")
            picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
            return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture
    except av.error.FFmpegError as error:
        raise NotAVideoError(error.strerror or str(error)) from error
