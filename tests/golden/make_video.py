"""Makes tests/golden/video: small clips in many containers, and what the `ffmpeg` command decodes them to.

    python tests/golden/make_video.py          needs NumPy, Pillow and imageio-ffmpeg (which brings ffmpeg 7)

Every clip shows a gradient with a square that wanders, so that no two frames and no two corners look alike. Beside
NAME.EXT lie NAME.png, all frames of it one below the other, and in clips.txt one line per clip: file, codec, width,
height, seconds, tolerance of a pixel, times of the frames. The tolerance is 0 where the codec's standard fixes every bit; MPEG's
leave the rounding of the cosine transform open, and the difference grows from frame to frame.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

HERE = Path(__file__).parent / "video"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
EXACT = "scale=flags=bicubic+accurate_rnd+full_chroma_int+bitexact"
SRT = "1\n00:00:00,200 --> 00:00:00,600\nA <i>red</i> apple\n\n2\n00:00:00,700 --> 00:00:00,900\nMilk &amp; honey\nfor two\n"
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.20,0:00:00.60,Default,,0,0,0,,{\\b1}A red{\\b0} apple, ripe
Dialogue: 0,0:00:00.70,0:00:00.90,Default,,0,0,0,,Milk\\Nand honey
Dialogue: 0,0:00:00.95,0:00:00.99,Default,,0,0,0,,{\\p1}m 0 0 l 10 0 10 10
"""


def drawn(count: int, width: int, height: int) -> np.ndarray:
    """-> (count, height, width, 3) uint8"""
    y, x = np.mgrid[0:height, 0:width]
    frames = np.empty((count, height, width, 3), np.uint8)
    for i in range(count):
        frames[i, ..., 0] = 255 * x // max(width - 1, 1)
        frames[i, ..., 1] = 255 * y // max(height - 1, 1)
        frames[i, ..., 2] = 255 * i // max(count - 1, 1)
        left = 2 + i * (width - 14) // max(count - 1, 1)
        frames[i, 4:12, left : left + 10] = (230, 40, 30) if i % 2 else (20, 60, 220)
    return frames


def run(*arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess:
    done = subprocess.run([FFMPEG, "-hide_banner", "-y", *arguments], input=data, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return done


def make(name: str, *output: str, count: int = 10, size: tuple[int, int] = (48, 32), inputs: tuple[str, ...] = ()) -> None:
    width, height = size
    pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "10", "-i", "-"]
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-threads", "1"]
    run(*pictures, *inputs, *output, *exact, str(HERE / name), data=drawn(count, width, height).tobytes())


def decoded(path: Path) -> tuple[np.ndarray, list[float], str]:
    """What ffmpeg makes of all frames -> (count, height, width, 3), their times, the codec. The first one is at 0 unless a tenth
    of a second of sound comes before it."""
    done = run("-copyts", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough", "-vf", f"{EXACT},format=rgb24,showinfo",
               "-sws_flags", "accurate_rnd+full_chroma_int+bitexact", "-f", "rawvideo", "-")  # fmt: skip
    said = done.stderr.decode()
    start = float(re.search(r"start: ([-0-9.]+)", said)[1])
    times = [float(t) for t in re.findall(r"pts_time:([-0-9.e]+)", said)]
    start = times[0] if times[0] - start < 0.1 else start
    times = [round(t - start, 6) for t in times]
    width, height = map(int, re.findall(r" s:(\d+)x(\d+) ", said)[-1])
    codec = re.search(r"Video: (\w+)", said)[1]
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    assert len(frames) == len(times), path
    return frames, times, codec


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for old in HERE.iterdir():
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        srt, ass = Path(folder) / "a.srt", Path(folder) / "a.ass"
        srt.write_text(SRT)
        ass.write_text(ASS)
        tone = ("-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=16000:duration=1")
        late = ("-itsoffset", "0.5", "-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=48000:duration=0.5")
        h264 = ("-c:v", "libx264", "-preset", "veryslow", "-crf", "18", "-pix_fmt", "yuv420p", "-g", "5", "-bf", "2")
        tags = lambda name: ("-colorspace", name, "-color_primaries", name, "-color_trc", name)  # noqa: E731

        make("h264_aac_text.mp4", *h264, "-c:a", "aac", "-b:a", "32k", "-c:s", "mov_text", inputs=(*tone, "-i", str(srt)))
        make("h264_709.mp4", "-vf", "scale=out_color_matrix=bt709:out_range=tv", *h264, *tags("bt709"))
        make("h264_full.mov", "-vf", "scale=out_color_matrix=bt709:out_range=pc", *h264, *tags("bt709"), "-color_range", "pc")
        make("ffv1_10_odd.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv422p10le", size=(45, 31))
        make("vp9_vfr_late.mkv", "-vf", "setpts='if(lt(N,5),N*0.1,N*0.25-0.6)/TB',settb=1/1000", "-fps_mode", "vfr",
             "-c:v", "libvpx-vp9", "-crf", "20", "-b:v", "0", "-pix_fmt", "yuv420p", "-c:a", "libopus", "-b:a", "24k", "-c:s", "srt",
             inputs=(*late, "-i", str(srt)))  # fmt: skip
        make("vp8_vtt.webm", "-c:v", "libvpx", "-crf", "10", "-b:v", "200k", "-c:s", "webvtt", inputs=("-i", str(srt)))
        make("mpeg4_ass.mkv", "-c:v", "mpeg4", "-q:v", "3", "-c:s", "ass", inputs=("-i", str(ass)))
        make("mpeg2_mp2.ts", "-c:v", "mpeg2video", "-q:v", "3", "-r", "25", "-c:a", "mp2", "-b:a", "32k", "-ar", "32000", inputs=tone)
        make("mjpeg_pcm.avi", "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le", "-ar", "8000", inputs=tone)
        make("vp8_vorbis.mkv", "-c:v", "libvpx", "-crf", "10", "-b:v", "200k", "-c:a", "libvorbis", inputs=tone)
        make("theora.ogv", "-c:v", "libtheora", "-q:v", "8")
        make("av1.mp4", "-c:v", "libaom-av1", "-crf", "20", "-cpu-used", "8", "-pix_fmt", "yuv420p", count=5)
        make("moving.gif")
        make("sound_only.m4a", "-map", "1:a", "-c:a", "aac", "-b:a", "32k", inputs=tone)
        for turn in (90, 180, 270):
            run("-display_rotation", str(turn), "-i", str(HERE / "h264_709.mp4"), "-c", "copy", "-fflags", "+bitexact",
                str(HERE / f"turned_{turn}.mp4"))  # fmt: skip
        run("-display_hflip", "-i", str(HERE / "h264_709.mp4"), "-c", "copy", "-fflags", "+bitexact", str(HERE / "mirrored.mp4"))

    lines = ["# file codec width height tolerance times; made by make_video.py"]
    for path in sorted(HERE.iterdir()):
        if path.suffix == ".m4a":
            continue
        frames, times, codec = decoded(path)
        Image.fromarray(frames.reshape(-1, frames.shape[2], 3)).save(path.with_suffix(path.suffix + ".png"), optimize=True)
        turned = path.stem.startswith(("turned", "mirrored"))  # ffmpeg turns first and interpolates chroma then
        tolerance = 8 if turned else 3 if codec in ("mpeg2video", "mjpeg", "mpeg4") else 0
        lines.append(" ".join([path.name, codec, str(frames.shape[2]), str(frames.shape[1]), str(tolerance), *map(str, times)]))
    (HERE / "clips.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
