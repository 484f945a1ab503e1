import math
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mer_search.config import with_values
from mer_search.errors import DOES_NOT_FIT, Infeasible, UsageError
from mer_search.training import pool as pool_module
from mer_search.training.loop import train_fold
from mer_search.training.pool import Pool, Task, choose_device, open_pool


def _tasks(loaded, subjects=("sub01", "sub02", "sub03", "sub04")):
    return [Task(loaded.run, 0, subject) for subject in subjects]


def test_folds_come_in_the_order_asked_for_and_as_one_process_trains_them(pool, make_search):
    loaded = make_search().loaded
    order = ("sub03", "sub01", "sub04", "sub02")
    epochs = []
    finished = list(pool.train(loaded.tensors, _tasks(loaded, order), epochs.append))
    assert [fold.predictions.subject for fold in finished] == list(order)
    assert len(epochs) == len(order) * loaded.run.train.epochs
    alone = train_fold(loaded.run, loaded.tensors, "sub04", 0)
    assert np.array_equal(finished[2].predictions.probabilities, alone.predictions.probabilities)


def test_closing_early_leaves_a_pool_that_works(pool, make_search):
    loaded = make_search().loaded
    folds = pool.train(loaded.tensors, _tasks(loaded), lambda epoch: None)
    assert next(folds).predictions.subject == "sub01"
    folds.close()
    again = list(pool.train(loaded.tensors, _tasks(loaded), lambda epoch: None))
    assert [fold.predictions.subject for fold in again] == ["sub01", "sub02", "sub03", "sub04"]


def test_processes_take_other_clips_when_they_are_given_them(pool, make_search):
    loaded = make_search().loaded
    small = loaded.with_values({"flow.size": 16}, lambda *_: None)
    assert small.tensors.flow.shape[-1] == 16
    for each in (loaded, small, loaded):
        assert len(list(pool.train(each.tensors, _tasks(each), lambda epoch: None))) == 4


def test_a_fold_that_kills_its_process_costs_that_fold_only(make_search):
    loaded = make_search().loaded
    with Pool("cpu", 1) as own:

        def kill(epoch):
            os.kill(own._workers[0][0].pid, signal.SIGKILL)

        with pytest.raises(Infeasible, match="ended it with SIGKILL") as caught:
            list(own.train(loaded.tensors, _tasks(loaded), kill))
        assert caught.value.constraint == "SIGKILL"
        assert len(list(own.train(loaded.tensors, _tasks(loaded), lambda epoch: None))) == 4


def test_a_process_that_dies_between_two_tasks_costs_nothing(make_search):
    loaded = make_search().loaded
    with Pool("cpu", 2) as own:
        own.seconds_per_step(loaded.tensors, loaded.run)
        process = own._workers[0][0]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert len(list(own.train(loaded.tensors, _tasks(loaded), lambda epoch: None))) == 4


def test_a_checkpoint_holds_the_network_that_made_the_last_predictions(pool, make_search, tmp_path):
    from mer_search.model.network import Network

    loaded = make_search().loaded
    path = tmp_path / "deep" / "sub01.safetensors"
    assert len(list(pool.train(loaded.tensors, [Task(loaded.run, 0, "sub01", path)], lambda epoch: None))) == 1
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    network = Network(loaded.run)
    network.load_state_dict(load_file(path))
    alone = train_fold(loaded.run, loaded.tensors, "sub01", 0)
    for key, value in alone.network.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key


def test_a_defect_shows_where_it_happened(pool, make_search):
    loaded = make_search().loaded
    broken = with_values(loaded.run, {"flow.size": 64, "frames.maps": 2})  # not what the clips are
    with pytest.raises(RuntimeError, match="Traceback"):
        list(pool.train(loaded.tensors, [Task(broken, 0, "sub01")], lambda epoch: None))


def test_a_small_network_gets_a_process_a_core_and_a_large_one_all_cores(make_search, monkeypatch):
    monkeypatch.setattr(Pool, "_start", lambda self: None)
    small = make_search().loaded.run
    assert open_pool(small, "cpu").size == len(os.sched_getaffinity(0))
    large = with_values(small, {"flow.size": 224, "model.attention_width": 256, "train.batch": 36})
    assert open_pool(large, "cpu").size == 1


def test_without_a_task_no_process_is_started(make_search, monkeypatch):
    monkeypatch.setattr(Pool, "_start", lambda self: pytest.fail("a process was started"))
    with Pool("cpu", 2) as idle:
        assert list(idle.train(make_search().loaded.tensors, [], lambda epoch: None)) == []


def test_a_gpu_that_is_not_there_is_refused():
    assert choose_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto") == "cpu"
        with pytest.raises(UsageError, match="use --device cpu or auto"):
            choose_device("cuda")


def test_an_interruption_does_not_wait_for_an_epoch_and_leaves_a_pool_that_works(pool, make_search, monkeypatch):
    loaded = make_search().loaded
    pool.seconds_per_step(loaded.tensors, loaded.run)  # its processes have started
    folds = pool.train(loaded.tensors, _tasks(loaded), lambda epoch: None)
    before = [process.pid for process, _ in pool._workers]
    with monkeypatch.context() as patched:
        patched.setattr(Pool, "_ready", lambda self, busy: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            next(folds)
    assert [process.pid for process, _ in pool._workers] != before
    assert len(list(pool.train(loaded.tensors, _tasks(loaded), lambda epoch: None))) == 4


def test_a_death_as_folds_are_cancelled_lets_no_fold_of_one_run_be_taken_for_anothers(make_search):
    loaded = make_search().loaded
    long = with_values(loaded.run, {"train.epochs": 50})
    with Pool("cpu", 2) as own:

        def end(epoch):
            (lost,) = (worker for worker, subject in enumerate(("sub01", "sub02")) if subject != epoch.subject)
            own._workers[lost][0].kill()
            own._workers[lost][0].join()
            raise RuntimeError("a defect while another fold is trained")

        folds = own.train(loaded.tensors, [Task(long, 0, "sub01"), Task(long, 0, "sub02")], end)
        with pytest.raises(RuntimeError, match="a defect"):
            next(folds)
        again = list(own.train(loaded.tensors, _tasks(loaded), lambda epoch: None))
    assert [fold.predictions.epochs for fold in again] == [loaded.run.train.epochs] * 4


def test_a_second_ctrl_c_leaves_nobody_to_be_waited_for(make_search, monkeypatch):
    loaded, real, calls = make_search().loaded, Pool._replace, []

    def replace(self, worker):
        real(self, worker)
        calls.append(worker)
        if len(calls) == 1:
            raise KeyboardInterrupt

    with Pool("cpu", 2) as own:
        monkeypatch.setattr(Pool, "_replace", replace)
        folds = own.train(loaded.tensors, _tasks(loaded), lambda epoch: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            next(folds)
        assert len(list(own.train(loaded.tensors, _tasks(loaded), lambda epoch: None))) == 4


@pytest.mark.parametrize(
    ("batch", "fits", "pieces"), [(36, 36, [1]), (36, 9, [1, 2, 4]), (36, 5, [1, 2, 4, 8]), (7, 7, [1]), (8, 4, [1, 2])]
)
def test_batches_are_cut_into_as_few_pieces_as_fit(make_search, monkeypatch, batch, fits, pieces):
    tried = []

    def train_fold(run, clips, subject, seed, on_epoch, until, kept, pieces):
        tried.append(pieces)
        if math.ceil(run.train.batch / pieces) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "trained"

    monkeypatch.setattr(pool_module, "train_fold", train_fold)
    run = with_values(make_search().loaded.run, {"train.batch": batch})
    assert pool_module._fitting(Task(run, 0, "sub01"), None, None) == "trained"
    assert tried == pieces


def test_what_does_not_fit_in_pieces_of_four_clips_does_not_fit(make_search, monkeypatch):
    tried = []

    def train_fold(run, *rest):
        tried.append(rest[-1])
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(pool_module, "train_fold", train_fold)
    task = Task(with_values(make_search().loaded.run, {"train.batch": 36}), 0, "sub01")
    kind, error = pool_module._result(task, None, None)
    assert (kind, error.constraint) == ("failed", DOES_NOT_FIT)
    assert tried == [1, 2, 4, 8]
