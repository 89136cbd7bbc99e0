"""Films: frames in, cut-outs out. Needs the extra `video`."""

from u2net.video.cut import CutFrame, cut_out_film, cut_out_frames
from u2net.video.film import Film, Frame, open_film
from u2net.video.writer import Writer, new_writer

__all__ = ["CutFrame", "Film", "Frame", "Writer", "cut_out_film", "cut_out_frames", "new_writer", "open_film"]
