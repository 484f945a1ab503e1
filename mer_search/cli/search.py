"""Commands that search, and look at a study."""

import json
from contextlib import ExitStack
from pathlib import Path

import click

from mer_search.cli.options import (
    data_option,
    device_option,
    example,
    json_option,
    name_option,
    out_option,
    shared_storage,
    storage_option,
    task_option,
    workers_option,
)
from mer_search.processes import warm_up


@click.command(epilog=example("mer-search run --study megc2019 --data ~/norm_u_v_os --trials 30"))
@click.option(
    "--study",
    "study_name",
    help="Study file (.toml) or the name of one that comes with the package.  [default: by the data and the device]",
)
@data_option
@task_option
@click.option(
    "--trials",
    type=click.IntRange(1, 1_000_000),
    help="Trials in all, earlier calls counted in.  [default: the study file's]",
)
@storage_option
@click.option("--name", help="Study name in the storage.  [default: the study file's]")
@device_option
@workers_option
@click.option("--seed", type=click.IntRange(0, 899), default=0, show_default=True)
@out_option
def run(
    study_name: str | None,
    data: Path | None,
    task: str,
    trials: int | None,
    storage: str,
    name: str | None,
    device: str,
    workers: int,
    seed: int,
    out: Path,
) -> None:
    """Search: trials on the study's subjects until there are --trials of them. Run it again to go on."""
    warm_up(*(["mer_search.search.workers"] if workers > 1 else []))
    from mer_search.data import open_folder
    from mer_search.report import datasets, live, terminal
    from mer_search.report.trials import print_next, state_line, study_table
    from mer_search.search import space, study
    from mer_search.search.claims import ended
    from mer_search.search.cost import search_cost
    from mer_search.search.crew import gpus, places
    from mer_search.search.progress import progress_of
    from mer_search.search.storage import check_name, is_shared, only_trainer, only_writer, open_storage
    from mer_search.search.workers import Job, run_workers
    from mer_search.search.workspace import find_data, load_data
    from mer_search.training.pool import choose_device, open_pool

    device = choose_device(device)
    given, storage = storage, shared_storage(storage, workers, out)
    if storage != given:
        terminal.err.print(
            f"storage: {storage}, a PostgreSQL that is started for the workers (sqlite has one writer); status, "
            "confirm and dashboard take it as --storage"
        )
    chosen = space.load(study_name) if study_name else None  # a wrong study file fails before anything is made
    check_name(name or (chosen.name if chosen else "default"))
    with terminal.bars() as progress:
        path = find_data(data, progress)
        file = (chosen or space.load(_default_study(open_folder(path).dataset.flow_images, device))).for_task(task)
        loaded = load_data(path, file.base, progress)
    datasets.print_data(loaded)
    subjects = loaded.select(file.subjects)
    label = name or file.name
    search = study.Search(file, loaded, subjects, seed, out / label)
    with ExitStack() as locks:
        locks.enter_context(only_writer(storage))
        kept = open_storage(storage, create=True)
        locks.enter_context(only_trainer(search.out, shared=is_shared(storage)))
        opened = study.open_study(search, kept, label)
        wanted = trials or file.trials
        shown = live.Live(opened, wanted, ended(opened), search.out / "artifacts")
        with open_pool(loaded.run, device) as pool:
            with terminal.bars() as progress:
                cost = search_cost(search, opened, pool, wanted, progress)
            if workers == 1:
                live.print_cost(cost, terminal.processes(pool.size))
                with shown:
                    study.run(search, opened, pool, wanted, shown)
        if workers > 1:  # they have their own pools
            side_by_side = 1 if device == "cpu" else min(workers, len(gpus()))
            live.print_cost(cost._replace(seconds=cost.seconds / side_by_side), f"{workers} workers")
            job = Job(search, kept.url, label, wanted, live.Describing(shown.artifacts))
            with shown:
                run_workers(job, opened, places(device, workers), shown, terminal.note)
    terminal.show(study_table(opened, study.best_trial(opened)))
    terminal.say(state_line(progress_of(opened)))
    print_next(storage, label, search.out)


@click.command(epilog=example("mer-search status --json"))
@storage_option
@name_option
@json_option
def status(storage: str, name: str | None, as_json: bool) -> None:
    """How far a study is, its best trials, and whether its subjects rank trials as all do, if some are confirmed."""
    from mer_search.report import terminal, trials
    from mer_search.search.hindsight import proxy
    from mer_search.search.progress import progress_of
    from mer_search.search.storage import best_trial, find_study, open_storage

    opened = find_study(open_storage(storage), name)
    facts = {**progress_of(opened), "proxy": proxy(opened)}
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    if best := best_trial(opened):
        terminal.show(trials.study_table(opened, best))
    if facts["pareto_front"]:
        terminal.show(trials.front_table(facts))
    terminal.say(trials.state_line(facts))
    if facts["proxy"]:
        terminal.say(trials.proxy_line(facts["proxy"]))


@click.command(epilog=example("mer-search report"))
@click.option("--trial", type=click.IntRange(min=0), help="A confirmed trial.  [default: the one confirmed last]")
@storage_option
@name_option
def report(trial: int | None, storage: str, name: str | None) -> None:
    """Write what a study found as one page, which needs nothing else, and as Markdown, with its trials as CSV. Pictures
    of clips need the study's data; where it is gone, the page says so."""
    from mer_search.report import terminal
    from mer_search.report.page import write_study
    from mer_search.search.hindsight import confirmation, confirmations
    from mer_search.search.storage import find_study, open_storage

    study = find_study(open_storage(storage), name)
    folder = confirmation(study, trial) if trial is not None or confirmations(study) else None
    with terminal.bars() as progress:
        page = write_study(study, folder, progress)
    click.echo(page)


@click.command(epilog=example("mer-search dashboard --port 8081"))
@storage_option
@name_option
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def dashboard(storage: str, name: str | None, port: int, host: str) -> None:
    """Serve optuna-dashboard, with the study's pictures: to this machine alone, unless --host says otherwise."""
    from mer_search.report.dashboard import check_port, exposed, serve
    from mer_search.search.storage import find_study, open_storage, results

    opened = open_storage(storage)
    folder = results(find_study(opened, name)) / "artifacts"
    check_port(host, port)
    if exposed(host):
        click.echo(
            f"warning: the dashboard has no login: whoever reaches {host}:{port} can read, change and delete studies; "
            f"without --host, an ssh tunnel reaches it: ssh -L {port}:127.0.0.1:{port} MACHINE",
            err=True,
        )
    click.echo(f"http://{host}:{port}/  (Ctrl-C stops it)")
    serve(opened, folder, host, port)


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
