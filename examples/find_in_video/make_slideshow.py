"""make_slideshow.py OUT.mkv PHOTO[=CAPTION[=SOUND]] ...: photos of four seconds each as a video to try things on.

A caption becomes a subtitle; a sound is a file, or words after "say:" that espeak-ng speaks. Needs `ffmpeg` (of the PATH, or
`pip install imageio-ffmpeg`).
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 4


def ffmpeg() -> str:
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def clock(seconds: float) -> str:
    return f"00:{int(seconds) // 60:02}:{int(seconds) % 60:02},000"


def main(out: str, *scenes: str) -> None:
    command, filters, cues = [ffmpeg(), "-loglevel", "error", "-y"], [], []
    with tempfile.TemporaryDirectory() as folder:
        for i, scene in enumerate(scenes):
            photo, caption, sound = (scene.split("=", 2) + ["", ""])[:3]
            command += ["-loop", "1", "-framerate", "10", "-t", str(SECONDS), "-i", photo]
            if sound.startswith("say:"):
                spoken = Path(folder) / f"{i}.wav"
                subprocess.run(["espeak-ng", "-w", spoken, sound.removeprefix("say:")], check=True)
                sound = str(spoken)
            command += ["-i", sound] if sound else ["-f", "lavfi", "-t", str(SECONDS), "-i", "anullsrc=r=16000:cl=mono"]
            if caption:
                start = i * SECONDS
                cues.append(f"{len(cues) + 1}\n{clock(start)} --> {clock(start + SECONDS)}\n{caption}\n")
            filters.append(f"[{2 * i}:v]scale=480:360:force_original_aspect_ratio=decrease,pad=480:360:-1:-1,setsar=1[v{i}]")
            filters.append(f"[{2 * i + 1}:a]aresample=16000,aformat=channel_layouts=mono,apad,atrim=0:{SECONDS}[a{i}]")
        pairs = "".join(f"[v{i}][a{i}]" for i in range(len(scenes)))
        subtitles = Path(folder) / "captions.srt"
        subtitles.write_text("\n".join(cues))
        if cues:
            command += ["-i", str(subtitles)]
        command += ["-filter_complex", ";".join([*filters, f"{pairs}concat=n={len(scenes)}:v=1:a=1[v][a]"])]
        command += ["-map", "[v]", "-map", "[a]", *(["-map", f"{2 * len(scenes)}:s"] if cues else [])]
        subprocess.run([*command, "-pix_fmt", "yuv420p", out], check=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
