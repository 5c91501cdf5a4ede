"""Films: mp4, mov, Matroska and AVI in; FFV1, ProRes or H.264 out. Start reading here.

A film is one input. `probe_video` says what it is, `scan_segments` cuts it at key frames,
`iter_frames` decodes one segment, `encode_segment` encodes its restored frames, and `join` makes
one film of the segments' files without encoding again. Each call opens what it needs and holds
a few frames; arguments and results can be pickled.

Frames are restored as RGB (or gray), which 4:2:0 YUV is not: the conversion is exact to its
rounding and goes one way by default, FFV1 stores the restored RGB bit for bit, and the ledger
names the change. `pixel_format=same` converts back instead, and is off by a step or two.
"""

from ganray.codecs.video_config import SUFFIXES, VideoConfig, output_suffix
from ganray.codecs.video_encoding import VideoOutput, encode_segment, require_encodable
from ganray.codecs.video_frames import Frame, iter_frames
from ganray.codecs.video_join import JoinedFilm, StagedFilm, join
from ganray.codecs.video_profile import VideoProfile, probe_video
from ganray.codecs.video_segments import Segment, SegmentPlan, count_frames, scan_segments
from ganray.codecs.video_source import VideoSource, local_source
from ganray.codecs.video_staging import StagedSegment, read_local

__all__ = [
    "SUFFIXES",
    "Frame",
    "JoinedFilm",
    "Segment",
    "SegmentPlan",
    "StagedFilm",
    "StagedSegment",
    "VideoConfig",
    "VideoOutput",
    "VideoProfile",
    "VideoSource",
    "count_frames",
    "encode_segment",
    "iter_frames",
    "join",
    "local_source",
    "output_suffix",
    "probe_video",
    "read_local",
    "require_encodable",
    "scan_segments",
]
