"""Commands that look at a dataset, or make one."""

import re
import sys
from functools import partial
from pathlib import Path

import click

from mer_search.cli.options import PATH, Commands, Given, example, main, options
from mer_search.errors import UsageError


@main.group(cls=Commands)
def data() -> None:
    """Look at a dataset, or make a synthetic one."""


@data.command(epilog=example("mer-search data check ~/CASME2"))
@click.argument("path", type=PATH, required=False)
@options("task")
@click.option("--picture", type=PATH, help="PNG to write: clips, their lengths, their apexes.")
@options("as_json")
def check(given: Given, path: Path | None, picture: Path | None) -> None:
    """Which dataset a folder is, clips per class and subject, and every problem. Exit code 1: a run cannot use it.

    Without PATH: MER_SEARCH_DATA, else synthetic clips.
    """
    from mer_search.data import open_folder
    from mer_search.data.check import check_folder, facts_of
    from mer_search.data.clips import enough
    from mer_search.files import write_whole
    from mer_search.report import figures, terminal
    from mer_search.report.clips import print_check
    from mer_search.search.workspace import find_data

    with terminal.working() as progress:
        folder = open_folder(find_data(path, progress), given.task)
        folder = check_folder(folder, partial(progress, "reading images"))
    if picture and folder.clips:
        write_whole(picture, figures.clips(folder.clips, folder.classes)("png"))

    def show() -> None:
        print_check(folder)
        if picture and folder.clips:
            terminal.out.print(f"to look at: {picture}")

    given.tell(facts_of(folder), show)
    sys.exit(0 if enough(folder.clips) else 1)


@data.command(epilog=example("mer-search data preview sub03/EP01_2 --preset V3NS --set flow.method=dis"))
@click.argument("clip")
@options("data")
@click.option("--preset", "preset_name", default="V3NR", show_default=True, help="Whose frames, flow and channels.")
@options("settings")
@click.option("--out", type=PATH, help="PNG to write.  [default: the clip's name in this folder]")
def preview(given: Given, clip: str, preset_name: str, out: Path | None) -> None:
    """A picture of a clip as a network meets it: frames, motion as colour, every channel."""
    from mer_search.config import with_values
    from mer_search.data import open_folder
    from mer_search.data.clips import similar_ids
    from mer_search.files import write_whole
    from mer_search.presets import preset
    from mer_search.report import terminal
    from mer_search.report.clips import preview as picture
    from mer_search.search.workspace import find_data

    run = with_values(preset(preset_name), given.values)
    with terminal.working() as progress:
        folder = open_folder(find_data(given.data, progress), run.data.task)
    found = [each for each in folder.clips if clip in (each.id, each.name)]
    if len(found) != 1:
        raise UsageError(
            f"CLIP must name one clip of {folder.path}, but {len(found) or 'none'} have the name {clip!r}; "
            f"some are {', '.join(similar_ids(clip, folder.clips))}"
        )
    target = out or Path(f"{found[0].id.replace('/', '_')}.png")
    write_whole(target, picture(found[0], run, preset_name))
    click.echo(f"{folder.title}, {found[0].id}: {target}")


@data.command(name="export", epilog=example("mer-search data export ~/CASME2-masked --data ~/CASME2 --as-published"))
@click.argument("out", type=PATH)
@options("data")
@click.option("--preset", "preset_name", default="V3NR", show_default=True, help="Whose size, denoising and mask.")
@options("recipe settings")
def export(given: Given, out: Path, preset_name: str) -> None:
    """Write every frame denoised, resized and masked, as a dataset that can be used in the place of the first."""
    from mer_search.config import with_values
    from mer_search.data import open_folder
    from mer_search.data.export import export_frames
    from mer_search.presets import preset
    from mer_search.report import terminal
    from mer_search.search.workspace import find_data

    run = with_values(preset(preset_name, given.recipe), given.values)
    with terminal.working() as progress:
        folder = open_folder(find_data(given.data, progress), run.data.task)
        written, problems = export_frames(folder, run.prep, out, partial(progress, "writing frames of clips"))
    for problem in problems:
        terminal.note(f"left out: {problem}")
    click.echo(f"{written} frames of {len(folder.clips) - len(problems)} clips in {out}")


@data.command(epilog=example("mer-search data synth /tmp/clips --size 128"))
@click.argument("out", type=PATH)
@click.option("--size", default="128", show_default=True, help="Pixels: 128, or HEIGHTxWIDTH such as 340x280.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def synth(out: Path, size: str, seed: int) -> None:
    """Write synthetic clips in CASME II's layout: 26 subjects, 246 clips."""
    from mer_search.data.synthetic.dataset import write_dataset
    from mer_search.report import terminal

    if not (parts := re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", size.lower(), re.ASCII)):
        raise UsageError(f"--size must be a number or HEIGHTxWIDTH, but got {size!r}")
    height, width = int(parts[1]), int(parts[2] or parts[1])
    with terminal.working() as progress:
        told = partial(progress, "making synthetic clips")
        clips = write_dataset(out, height=height, width=width, seed=seed, on_clip=told)
    click.echo(f"{clips} synthetic clips in {out}")
