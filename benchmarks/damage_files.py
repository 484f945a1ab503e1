"""How images, folders, study files and command lines are damaged (see mutants.py)."""

import functools
import os
import random
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import cv2
import numpy as np
from damage import Base, Damaged, Fact
from small import STUDY

from mer_search import cli

# Images


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, packed: bytes) -> bytes:
    """A grey PNG of that size whose pixels are `packed`."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def png_bomb(side: int) -> bytes:
    """A whole PNG of side x side black pixels, in few bytes."""
    packer, row = zlib.compressobj(9), bytes(side + 1)
    return png(side, side, b"".join(packer.compress(row) for _ in range(side)) + packer.flush())


def jpeg_of(content: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header tells another size."""
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def decodes(content: bytes) -> tuple[np.ndarray | None, bool]:
    """What OpenCV makes of an image, and whether its decoders complain on stderr. Not for several threads."""
    with tempfile.TemporaryFile() as told:
        kept = os.dup(2)
        os.dup2(told.fileno(), 2)
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        except cv2.error:
            image = None
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        return image, image is None or told.seek(0, os.SEEK_END) > 0


def _garbage(rng: random.Random, content: bytes) -> bytes:
    """Rubbish inside, of which the decoder complains."""
    for _ in range(50):
        place, length = rng.randrange(len(content) // 2, len(content) - 8), rng.randrange(4, 60)
        changed = content[:place] + rng.randbytes(length) + content[place + length :]
        if decodes(changed)[1]:
            return changed
    return b""


def _encoded(kind: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[random.Random, bytes], bytes]:
    def make(rng: random.Random, content: bytes) -> bytes:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        return bytes(cv2.imencode(kind, change(image))[1].tobytes())

    return make


REFUSED: dict[str, Callable[[random.Random, bytes], bytes]] = {
    **{
        f"cut off at {k} tenths{what}": lambda rng, content, k=k, end=end: content[: k * len(content) // 10] + end
        for what, end in (("", b""), (", with an end", b"\xff\xd9"))
        for k in range(1, 10)
    },
    "with rubbish inside": _garbage,
    "with rubbish inside it": _garbage,
    "empty": lambda rng, content: b"",
    "of text": lambda rng, content: b"no picture",
    "of zeros": lambda rng, content: bytes(len(content)),
    "of random bytes": lambda rng, content: rng.randbytes(len(content)),
    "of 60000 x 60000 pixels, in its header": lambda rng, content: (
        jpeg_of(content, 60000, 60000) if content[:2] == b"\xff\xd8" else png(60000, 60000, zlib.compress(bytes(99)))
    ),
    "png of 2 ^ 31 pixels a side": lambda rng, content: png(2**31 - 1, 2**31 - 1, zlib.compress(bytes(99))),
    "png of no pixels": lambda rng, content: png(0, 0, b""),
    "png of 12000 x 12000 black pixels": lambda rng, content: png_bomb(12000),
    "svg": lambda rng, content: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "postscript": lambda rng, content: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n",
}
CLIPS_ONLY = {"of another size": _encoded(".png", lambda image: cv2.resize(image, (40, 30)))}  # in a clip of many
FLOW_ONLY = {"grey": _encoded(".png", lambda image: image[:, :, 0])}  # u, v and strain cannot be the same
USED: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "as 16-bit png": _encoded(".png", lambda image: image.astype(np.uint16) * 257),
    "as png with alpha": _encoded(".png", lambda image: np.dstack([image, np.full(image.shape[:2], 9, np.uint8)])),
    "as bmp": _encoded(".bmp", lambda image: image),
    "as tiff": _encoded(".tiff", lambda image: image),
}


def image(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """A clip with a damaged or an unusual image."""
    flow = base.folder.name == "flow"
    clip, fact = rng.choice(list(base.truth.items()))
    at = 0 if rng.random() < 0.7 else rng.randrange(len(fact[1]))
    path = next(path for path in folder.rglob(fact[1][at]) if clip.split("/")[1] in str(path) and clip[:5] in str(path))
    refused = REFUSED | (FLOW_ONLY if flow else CLIPS_ONLY)
    harmless = USED | ({} if flow else FLOW_ONLY)
    what = rng.choice([*refused, *harmless])
    path.write_bytes((refused | harmless)[what](rng, path.read_bytes()))
    if what in harmless:
        return Damaged(f"image {what}", base.truth)
    return Damaged(f"image {at} of {len(fact[1])} {what}", base.without(clip), check_only=at > 0)


# Folders


def _clip_folder(rng: random.Random, base: Base, folder: Path) -> tuple[str, Fact, Path]:
    """A clip and what is its own: its frames' folder, or its image."""
    clip, fact = rng.choice(list(base.truth.items()))
    subject, name = clip.split("/")
    images = sorted(folder.rglob(fact[1][0]))
    if len(fact[1]) == 1:
        return clip, fact, images[0]
    return clip, fact, next(path.parent for path in images if path.parent.name == name and subject in str(path))


ODD = ["EP01 (copy)", "a\nb", "[bold]", ":smile:", "\x1b[31mred", "-rf", "x" * 250,
       "\uff46\uff55\uff4c\uff4c", "\u202eabc", "\u2019", "%s",
       "sub01", "..x", b"\xff\xfe".decode("utf-8", "surrogateescape")]  # fmt: skip


def _missing(rng: random.Random, base: Base, folder: Path) -> Damaged:
    clip, _, path = _clip_folder(rng, base, folder)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    flow = frozenset([clip]) if base.folder.name == "flow" else frozenset()
    return Damaged(f"{clip} missing", base.truth, gone=flow)


def _emptied(rng: random.Random, base: Base, folder: Path) -> Damaged:
    clip, fact, path = _clip_folder(rng, base, folder)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in rng.sample(files, rng.choice((1, min(2, len(files)), max(1, len(files) // 2), len(files)))):
        file.unlink()
    rest = base.without(clip)
    shorter = [(fact[0], fact[1][:k]) for k in range(5, len(fact[1]))]
    if base.folder.name in ("smic", "composite"):  # there frames may be numbered anew
        shorter.append((fact[0], tuple(file.name for file in files if file.exists())))
    return Damaged(f"frames of {clip} missing", rest, {clip: shorter})


def _renamed(rng: random.Random, base: Base, folder: Path) -> Damaged:
    clip, fact, path = _clip_folder(rng, base, folder)
    name = rng.choice([path.name.upper(), f" {path.name} ", *ODD])
    name = name if path.is_dir() else f"{name}.png"
    path.rename(path.with_name(name))
    if path.suffix == ".png":  # an image's name is the clip's
        rest = base.without(clip)
        new = f"{clip.split('/')[0]}/{name.removesuffix('.png').strip()}"
        return Damaged(f"{clip} renamed {name!r}", rest, {new: [(fact[0], (name,))]})
    return Damaged(f"{clip} renamed {name!r}", base.truth)


def _replaced(rng: random.Random, base: Base, folder: Path) -> Damaged:
    clip, _, path = _clip_folder(rng, base, folder)
    target = rng.choice([path, next(iter(sorted(path.iterdir()))) if path.is_dir() else path])
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    kind = rng.choice(("a file", "a folder", "a pipe", "a link to nothing", "a link to itself", "/dev/zero"))
    _put(target, kind)
    return Damaged(f"{target.name} of {clip} is {kind}", base.without(clip))


def _put(path: Path, kind: str) -> None:
    """Something of a kind where nothing is."""
    if kind == "a file":
        path.write_bytes(b"x")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to({"a link to nothing": "nowhere", "a link to itself": path.name}.get(kind, kind))


def _loops(rng: random.Random, base: Base, folder: Path) -> Damaged:
    inside = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in inside:
        for k in range(rng.choice((1, 3, 6))):
            (place / f"again{k}").symlink_to(rng.choice(inside), target_is_directory=True)
    return Damaged("folders that link to each other", base.truth)


def _nested(rng: random.Random, base: Base, folder: Path) -> Damaged:
    clip, _, path = _clip_folder(rng, base, folder)
    depth = rng.randrange(1, 12)
    deeper = path.parent.joinpath(*["deep"] * depth)
    deeper.mkdir(parents=True)
    path.rename(deeper / path.name)
    flow = frozenset([clip]) if base.folder.name == "flow" else frozenset()
    return Damaged(f"{clip} {depth} folders deeper", base.truth, gone=flow)


def _junk(rng: random.Random, base: Base, folder: Path) -> Damaged:
    inside = [folder, *(path for path in folder.rglob("*") if path.is_dir() and "u_test" not in path.parts)]
    for name in rng.sample(ODD, 6):
        place = rng.choice(inside)
        if not (place / name).exists():
            (place / name).mkdir() if rng.random() < 0.5 else (place / name).write_bytes(b"junk")
    for name in ("CASME2-coding", "landmarks", "combined_3class_gt.csv"):
        if rng.random() < 0.3 and not (folder / name).exists():
            (folder / name).write_bytes(rng.choice((b"", b"x", bytes(100))))
    return Damaged("junk of odd names", base.truth)


def _sheet_replaced(rng: random.Random, base: Base, folder: Path) -> Damaged:
    sheets = [path for path in folder.rglob("*") if path.suffix in (".xlsx", ".csv")]
    if not sheets:
        return _labels(rng, base, folder)
    path, kind = rng.choice(sheets), rng.choice(("missing", "a folder", "a pipe", "/dev/zero", "there twice"))
    if kind == "there twice":
        shutil.copy(path, path.with_name(f"{path.stem}-b{path.suffix}"))
        return Damaged("spreadsheet there twice", base.truth)
    path.unlink()
    _put(path, kind)
    if base.folder.name == "composite":  # what is left is one dataset, which has its own labels and says so
        own = {"EP01": "happiness", "EP02": "disgust", "EP03": "others"}
        alone = {f"sub{k:02d}/{name}_{k:02d}f": (label, k) for k in (1, 2) for name, label in own.items()}
        frames = {k: tuple(f"reg_img{number}.jpg" for number in range(10 + k, 27 + k)) for k in (1, 2)}
        possible = {clip: [(label, frames[k])] for clip, (label, k) in alone.items()}
        rest = base.without(*alone)
        return Damaged(f"spreadsheet {kind}", rest, possible, frozenset(rest))
    return Damaged(f"spreadsheet {kind}", base.truth, gone=frozenset(base.truth))


def _labels(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """Of flow images: label folders of other names, an image in two of them."""
    if base.folder.name != "flow":
        return _junk(rng, base, folder)
    clip, (label, _), path = _clip_folder(rng, base, folder)
    rest = base.without(clip)
    place = path.parent
    if rng.random() < 0.4:
        other = place.with_name(rng.choice([name for name in "012" if name != place.name]))
        shutil.copy(path, other / path.name)
        return Damaged(f"{clip} under two labels", rest)
    if rng.random() < 0.3:
        shutil.copy(path, path.with_name(path.name.replace(" ", "")))
        return Damaged(f"{clip} twice", rest, {clip: [(label, (path.name,)), (label, (path.name.replace(" ", ""),))]})
    name = rng.choice(["²", "\uff11", "-1", "3", "00", "1.0", "x", "\uff19" * 30, "positive"])
    place.rename(place.with_name(name))
    same = {"00": "negative", "\uff11": "positive"}.get(name)
    possible = {clip: [(same, (path.name,))]} if same else {}
    return Damaged(f"label folder {place.name} of {clip[:5]} is {name!r}", rest, possible)


def _subjects(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """A subject's folder of another name."""
    clip, _, path = _clip_folder(rng, base, folder)
    place = next(each for each in path.parents if each.name == clip.split("/")[0] or clip.split("/")[0] in each.name)
    name = rng.choice([*ODD, "sub99", "1", "01"])
    if place.with_name(name).exists() or len(name.encode(errors="surrogateescape")) > 250:
        return _junk(rng, base, folder)
    place.rename(place.with_name(name))
    own = {c: [fact] for c, fact in base.truth.items() if c.split("/")[0] == place.name}
    possible = own | {f"{name}/{c.split('/')[1]}": facts for c, facts in own.items()}
    return Damaged(f"subject {place.name} is called {name!r}", base.without(*own), possible)


def folder(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """A damaged folder."""
    kinds = (_missing, _emptied, _renamed, _replaced, _loops, _nested, _junk, _sheet_replaced, _labels, _subjects)
    return rng.choice(kinds)(rng, base, folder)


# Study files

VALUES = ["0", "-1", "1", "3", "1e400", "nan", "inf", "-inf", "true", '""', '"x"', "[]", "{}", "1979-05-27", "9" * 30,
          "9" * 5000, "0x" + "f" * 5000, "[1, 2]", '["a"]', "[[1]]", "[true]", "1.5", '"../../x"', "{ choice = [] }",
          "{ float = [nan, 1] }", "{ float = [1, inf] }", "{ int = [1, 2], log = 'x' }", "{ choice = [[1], 2] }",
          "{ float = ['a', 'b'] }", "{ int = [4, 2] }", "{ choice = [1, 1] }", "{ float = [0, 1], log = true }",
          "[" * 5000, "{ a = " * 3000, "'''", '"\\ud800"', '"hardest_99999999999999"', '"1-99999999999999"',
          '"' + "7" * 5000 + '"', "{ choice = [1, true, 1.0] }", "[{}]", "[1]", "[{ preset = 5 }]", "[{ preset = [] }]",
          '[{ preset = "V9" }]', "{ 'train.lr' = 5 }", "{ 'train.loss' = 5 }"]  # fmt: skip
KEYS = ["base", "subjects", "rule", "sampler", "pruner", "also", "trials", "set", "space", "when", "start", "x",
        "train.lr", "model.depth", "data.classes", "__class__", "set.__init__", ""]  # fmt: skip


def study(rng: random.Random) -> tuple[str, bytes, str]:
    """A damaged study file: its name, what stands in it, and what was done."""
    hurt = rng.choice(("line", "line", "value", "value", "field", "field", "bytes", "name"))
    lines = STUDY.strip().split("\n")
    place, name = rng.randrange(len(lines)), "small.toml"
    content = None
    if hurt == "line":
        kind = rng.choice(("missing", "twice", "cut off", "commented"))
        line = lines.pop(place)
        lines[place:place] = {"missing": [], "twice": [line, line], "cut off": [line[: len(line) // 2]]}.get(
            kind, [f"# {line}"]
        )
        what = f"line {line!r} {kind}"
    elif hurt == "value":
        place = rng.choice([k for k, line in enumerate(lines) if "=" in line])
        value = rng.choice(VALUES)
        lines[place] = f"{lines[place].split('=')[0]}= {value}"
        what = lines[place]
    elif hurt == "field":
        key, value = rng.choice(KEYS), rng.choice(VALUES)
        without = re.sub(rf"^(\[+)?{re.escape(key)}\b.*\n", "", "\n".join(lines) + "\n", flags=re.M)
        lines = without.strip().split("\n")
        lines.insert(0, f"{key if key.isidentifier() else repr(key)} = {value}")
        what = lines[0]
    elif hurt == "bytes":
        content = "\n".join(lines).encode()
        kind = rng.choice(("cut off", "flipped", "not utf-8", "nul", "bom", "empty", "utf-16", "huge"))
        content = {
            "cut off": content[: rng.randrange(len(content))],
            "flipped": bytes(c ^ (rng.random() < 0.02) for c in content),
            "not utf-8": content + b"\n# \xff\xfe",
            "nul": content + b"\0",
            "bom": b"\xef\xbb\xbf" + content,
            "empty": b"",
            "utf-16": content.decode().encode("utf-16"),
            "huge": content + b"\n# " + b"x" * 30_000_000,
        }[kind]
        what = f"file {kind}"
    else:
        name = rng.choice(["...toml", "a b.toml", "x" * 200 + ".toml", "-x.toml", "a\nb.toml", "[bold].toml", ".toml"])
        what = f"file {name!r}"
    return name, "\n".join(lines).encode() if content is None else content, what[:120]


# Command lines

STRANGE = ["", " ", "0", "-1", "1", "2", "nan", "inf", "9" * 40, "1e9", "x", "../../x", "..", ".", "/", "/dev/null",
           "/dev/zero", "a/b", "\x1b[31m", "[/red]", "%s", "x" * 300, "y" * 5000, "flow", "small.toml", "none",
           "all", "hardest", "hardest_7", "1-3", "99-1", "1-999999999999", "9" * 5000, "train.epochs=1", "train.lr=nan",
           "train.epochs=" + "[" * 3000, "data.classes=1", "=", "a=b", "model.depth=0x" + "f" * 5000, "train.lr=1e400",
           "V3NR", "V4", "\udcff"]  # fmt: skip
STORAGES = ["sqlite:///x.db", "sqlite://", "sqlite:////no/such/x.db", "sqlite:///", "sqlite:///../x.db", "what", "://",
            "postgresql://u:secret@127.0.0.1:xx/d", "postgresql+psycopg://u:secret@127.0.0.1:1/d",
            "mysql://u:secret@h/d", "postgresql+nodriver://u:secret@h/d", "oracle://u:secret@h/d",
            "sqlite:///small.toml", "sqlite:///flow"]  # fmt: skip
COMMANDS = ("run", "confirm", "compare", "status", "report", "dashboard", "data check", "data preview", "data synth",
            "subjects rank")  # fmt: skip
SOUND: Mapping[str, list[str]] = {  # so that the rest of a command is met
    "run": ["--study", "small.toml", "--data", "flow"],
    "confirm": ["--preset", "V4", "--data", "flow", "--set", "frames.maps=1", "--set", "model.position=false",
                "--set", "flow.size=28", "--set", "model.blocks=1"],
    "compare": ["V4", "V3NR", "--data", "flow", "--set", "frames.maps=1", "--set", "model.position=false"],
    "data check": ["flow"],
    "data preview": ["sub01/sub01_EP00", "--data", "flow"],
}  # fmt: skip


def command(rng: random.Random) -> list[str]:
    """A command with options at random, of which some have strange values."""
    name = rng.choice(COMMANDS)
    called = functools.reduce(lambda group, word: group.commands[word], name.split(), cli.main)
    words = [*name.split(), *(SOUND.get(name, []) if rng.random() < 0.8 else [])]
    for param in rng.sample(called.params, min(len(called.params), rng.randrange(1, 4))):
        value = rng.choice(STORAGES if param.name == "storage" else STRANGE)
        flag = [] if isinstance(param, click.Argument) else param.opts[:1]
        words += flag if getattr(param, "is_flag", False) else [*flag, value]
    return words
