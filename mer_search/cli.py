"""Commands: parse, call, print. Torch and OpenCV are imported by the command that needs them, so --help is instant."""

import difflib
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from mer_search.errors import MerSearchError, UsageError

STORAGE = "sqlite:///mer-search.db"


class Commands(click.Group):
    """A group whose commands' errors become one line and the exit code of their class."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MerSearchError as error:
            click.secho(f"error: {error}", fg="red", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("\nstopped; the same command goes on from here", err=True)
            ctx.exit(130)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """click's own message for an unknown command lacks what there is."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise UsageError(
                f"a command must be one of {', '.join(self.list_commands(ctx))}, but got {args[0]!r}"
            ) from None


def _example(text: str) -> str:
    return f"\b\nExample:\n  {text}"


storage_option = click.option("--storage", default=STORAGE, show_default=True, help="Optuna storage URL.")
name_option = click.option("--name", help="Study name.  [default: the study started last]")
data_option = click.option(
    "--data", type=click.Path(path_type=Path), help="Dataset folder.  [default: MER_SEARCH_DATA, else synthetic clips]"
)
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else there.")
out_option = click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder for results."
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="mer-search")
def main() -> None:
    """Find networks for micro-expression recognition, and say honestly how good they are.

    \b
    Start:   mer-search run                  search, on synthetic clips if --data is not given
             mer-search confirm              the best trial, on all subjects, with fresh seeds
             mer-search dashboard            look at the study
    """


@main.command(epilog=_example("mer-search run --study megc2019 --data ~/norm_u_v_os --trials 30"))
@click.option(
    "--study",
    "study_name",
    help="Study file (.toml) or the name of one that comes with the package.  [default: by the data and the device]",
)
@data_option
@click.option(
    "--trials", type=click.IntRange(min=1), help="Trials in all, earlier calls counted in.  [default: the study file's]"
)
@storage_option
@click.option("--name", help="Study name in the storage.  [default: the study file's]")
@device_option
@click.option("--seed", type=click.IntRange(0, 899), default=0, show_default=True)
@out_option
def run(
    study_name: str | None,
    data: Path | None,
    trials: int | None,
    storage: str,
    name: str | None,
    device: str,
    seed: int,
    out: Path,
) -> None:
    """Search: trials on the study's subjects until there are --trials of them. Run it again to go on."""
    from mer_search.data import open_folder
    from mer_search.report import terminal
    from mer_search.report.dashboard import describe_study
    from mer_search.search import space, study
    from mer_search.search.storage import only_writer, open_storage
    from mer_search.search.workspace import find_data, load_data
    from mer_search.training.pool import choose_device, open_pool

    device = choose_device(device)
    given = space.load(study_name) if study_name else None  # a wrong study file fails before anything is made
    with terminal.bars() as progress:
        path = find_data(data, progress)
        file = given or space.load(_default_study(open_folder(path).dataset.flow_images, device))
        loaded = load_data(path, file.base, progress)
    terminal.print_data(loaded)
    subjects = loaded.select(file.subjects)
    label = name or file.name
    search = study.Search(file, loaded, subjects, seed, out / label)
    with only_writer(storage), ExitStack() as stack:
        opened = study.open_study(search, open_storage(storage, create=True), label)
        describe_study(opened)
        wanted = trials or file.trials
        pool = stack.enter_context(open_pool(loaded.run, device))
        with terminal.bars() as progress:
            cost = study.expected_cost(search, opened, pool, wanted, progress)
        terminal.print_cost(cost, pool.size)
        live = stack.enter_context(terminal.Live(wanted, search.out / "artifacts"))
        study.run(search, opened, pool, wanted, live)
    terminal.show(terminal.study_table(opened, study.best_trial(opened)))
    terminal.print_next(storage, label, search.out)


@main.command(epilog=_example("mer-search confirm --trial 12 --seeds 3"))
@click.option("--trial", type=click.IntRange(min=0), help="Trial number.  [default: the best]")
@click.option("--preset", "preset_name", help="A published network instead of a trial; see `mer-search presets`.")
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="How many fresh seeds.")
@click.option("--subjects", default="all", show_default=True, help="all, hardest, hardest_7, 1-4, [1,2,3], 7 or names.")
@data_option
@storage_option
@name_option
@device_option
@out_option
@json_option
def confirm(
    trial: int | None,
    preset_name: str | None,
    seeds: int,
    subjects: str,
    data: Path | None,
    storage: str,
    name: str | None,
    device: str,
    out: Path,
    as_json: bool,
) -> None:
    """Leave-one-subject-out over all subjects with seeds the search never used, and baselines beside it."""
    from mer_search.report import terminal
    from mer_search.report.page import write_report
    from mer_search.search import confirm as confirming
    from mer_search.search.storage import find_study, open_storage
    from mer_search.search.workspace import find_data, load_data
    from mer_search.training.pool import choose_device, open_pool

    if preset_name and trial is not None:
        raise UsageError("confirm takes --trial or --preset, but got both; leave one out")
    target = (
        confirming.preset_target(preset_name, out)
        if preset_name
        else confirming.trial_target(find_study(open_storage(storage), name), trial)
    )
    device = choose_device(device)
    with terminal.bars() as progress:
        loaded = load_data(data or target.data or find_data(None, progress), target.run, progress)
    terminal.print_data(loaded)
    job = confirming.Confirmation(
        target, loaded, loaded.select(subjects), tuple(range(confirming.FIRST_SEED, confirming.FIRST_SEED + seeds))
    )
    started = time.monotonic()
    with open_pool(loaded.run, device) as pool, terminal.bars() as progress:
        folds = confirming.confirm(
            job, pool, lambda epoch: None, lambda done, total: progress("training folds", done, total)
        )
    terminal.err.print("scoring, and fitting the baselines on the same folds ...")
    summary = confirming.summarise(job, folds)
    confirming.write(job, folds, summary)
    write_report(job, folds, summary)
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    terminal.show(terminal.summary_table(summary))
    terminal.out.print(terminal.verdict(summary))
    terminal.out.print(
        f"took {terminal.duration(time.monotonic() - started)}; files in {job.folder}, "
        f"to read in a browser: {job.folder / 'report.html'}"
    )


@main.command(epilog=_example("mer-search status --json"))
@storage_option
@name_option
@json_option
def status(storage: str, name: str | None, as_json: bool) -> None:
    """How far a study is, and its best trials."""
    from mer_search.report import terminal
    from mer_search.search.storage import find_study, open_storage
    from mer_search.search.study import best_trial, progress_of

    opened = find_study(open_storage(storage), name)
    facts = progress_of(opened)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    if best := best_trial(opened):
        terminal.show(terminal.study_table(opened, best))
    terminal.out.print(", ".join(f"{count} {state}" for state, count in facts["trials"].items()))


@main.command(epilog=_example("mer-search dashboard --port 8081"))
@storage_option
@name_option
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def dashboard(storage: str, name: str | None, port: int) -> None:
    """Serve optuna-dashboard on this machine, with the study's pictures."""
    from mer_search.report.dashboard import check_port, serve
    from mer_search.search.storage import find_study, open_storage

    opened = open_storage(storage)
    folder = Path(find_study(opened, name).user_attrs["out"]) / "artifacts"
    check_port(port)
    click.echo(f"http://127.0.0.1:{port}/  (Ctrl-C stops it)")
    serve(opened, folder, port)


@main.command(epilog=_example("mer-search presets"))
@json_option
def presets(as_json: bool) -> None:
    """The published networks: parameters, forward cost at 224 pixels, published macro F1."""
    from mer_search.model.network import cost
    from mer_search.presets import PRESETS, preset
    from mer_search.report import terminal

    rows = []
    for name, item in PRESETS.items():
        parameters, flop = cost(preset(name))
        rows.append(
            {
                "name": name,
                "parameters": parameters,
                "gflop": flop / 1e9,
                "published_f1": item.published_f1,
                "source": item.source,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        terminal.show(terminal.preset_table(rows))


@main.group(cls=Commands)
def data() -> None:
    """Look at a dataset, or make a synthetic one."""


@data.command(epilog=_example("mer-search data check ~/CASME2"))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--task", default="", help="Which emotions are told apart, such as 3.  [default: the dataset's first]")
@json_option
def check(path: Path, task: str, as_json: bool) -> None:
    """Which dataset a folder is, clips per class and subject, and every problem. Exit code 1: a run cannot use it."""
    from mer_search.data import open_folder
    from mer_search.data.check import check_folder
    from mer_search.report import terminal

    with terminal.bars() as progress:
        report = check_folder(open_folder(path, task), lambda done, total: progress("reading images", done, total))
    if as_json:
        click.echo(json.dumps(report.facts, indent=1))
    else:
        terminal.print_check(report)
    sys.exit(0 if report.usable else 1)


@data.command(epilog=_example("mer-search data preview sub05/EP02_01f --data ~/CASME2 --preset V3NS"))
@click.argument("clip")
@data_option
@click.option("--preset", "preset_name", default="V3NR", show_default=True, help="Whose frames, flow and channels.")
@click.option("--out", type=click.Path(path_type=Path), help="PNG to write.  [default: the clip's name in this folder]")
def preview(clip: str, data: Path | None, preset_name: str, out: Path | None) -> None:
    """A picture of a clip as a network meets it: frames, motion as colour, every channel."""
    from mer_search.data import open_folder
    from mer_search.files import write_whole
    from mer_search.presets import preset
    from mer_search.report import terminal
    from mer_search.report.preview import preview as picture
    from mer_search.search.workspace import find_data

    run = preset(preset_name)
    with terminal.bars() as progress:
        folder = open_folder(find_data(data, progress))
    found = [each for each in folder.clips if clip in (each.id, each.name)]
    if len(found) != 1:
        near = difflib.get_close_matches(clip, [each.id for each in folder.clips], n=3, cutoff=0)
        raise UsageError(
            f"CLIP must name one clip of {folder.path}, but {clip!r} fits {len(found)}; some are {', '.join(near)}"
        )
    target = out or Path(f"{found[0].id.replace('/', '_')}.png")
    write_whole(target, picture(found[0], run))
    click.echo(f"{folder.title}, {found[0].id}: {target}")


@data.command(epilog=_example("mer-search data synth /tmp/clips --size 128"))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", default="128", show_default=True, help="Pixels: 128, or HEIGHTxWIDTH such as 340x280.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def synth(out: Path, size: str, seed: int) -> None:
    """Write synthetic clips in CASME II's layout: 26 subjects, 246 clips."""
    from mer_search.data.synthetic import write_dataset
    from mer_search.report import terminal

    height, width = _size(size)
    with terminal.bars() as progress:
        clips = write_dataset(
            out,
            height=height,
            width=width,
            seed=seed,
            on_clip=lambda done, total: progress("making synthetic clips", done, total),
        )
    click.echo(f"{clips} synthetic clips in {out}")


def _default_study(flow_images: bool, device: str) -> str:
    """The study that suits the data and the device, and a word that it was taken."""
    chosen, reason = (
        ("megc2019", "the data are flow images")
        if flow_images
        else ("default", "there is a GPU")
        if device == "cuda"
        else ("demo", "there is no GPU")
    )
    click.echo(f"study: {chosen} ({reason}; --study takes another)", err=True)
    return chosen


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() for part in parts):
        raise UsageError(f"--size must be a number or HEIGHTxWIDTH, but got {text!r}")
    return int(parts[0]), int(parts[-1])


if __name__ == "__main__":
    main()
