"""The published table anew, published weights, exported frames, and the records of the public code."""

import csv
import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small import NARROW, SCORE, one_line, silent, summary_with, write_casme2, write_flow_images

from mer_search.bench.conventional import public_network
from mer_search.config import with_values
from mer_search.confirmation.reproduce import VARIANTS, Reproduced, decide, without_each
from mer_search.confirmation.target import preset_target, seeds_of
from mer_search.data import open_folder
from mer_search.data.flow import frame_sets, measure
from mer_search.data.synthetic import faces
from mer_search.data.synthetic.dataset import MARKER, write_dataset
from mer_search.errors import UsageError
from mer_search.evaluation.metrics import confusion
from mer_search.inference.evaluate import find_weights
from mer_search.model.network import Network
from mer_search.model.public import load_public_weights
from mer_search.presets import DEVIATIONS, PRESETS, PUBLISHED_BY_SUBJECT, preset
from mer_search.report.networks import decision_table, deviation_sections, mark, networks_table, subjects_table
from mer_search.search.workspace import load_data
from mer_search.training.predict_proba import predict_proba

SMALL = {"prep.size": 32} | NARROW | {"train.epochs": 2, "units.epochs": 1, "prep.denoise": 0, "frames.crops": 2}
SETTINGS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Drawn clips of four subjects, two of them hard."""
    root = tmp_path_factory.mktemp("data") / "clips"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "CANVAS", 96)  # pixels a side of what is painted
        write_dataset(root, height=64, width=64, subjects=(3, 6, 16, 21))
    return root


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_table_is_made_anew_and_goes_on_where_it_was_stopped(mer_search, tmp_path, clips):
    command = ["reproduce", "V5", "V5NR", "V5b", "V6", "V6c", "MMNet", "--data", clips, "--subjects", "3,6", *SETTINGS]
    result = mer_search(*command)
    assert result.exit_code == 0, result.output
    told = " ".join(result.stderr.split())
    assert "cost: 2 cropped copies of each of 18 clips, 216 maps of flow to be measured once" in told
    assert "cost: 10 folds (2 for V5NR as published" in told
    page = (tmp_path / "runs/reproduced/networks/report.html").read_text()
    said = "0.8290", "cannot be set beside the mark of 0.8676", "Hard subjects", "Which version is the best?", "0.678"
    assert all(text in page for text in (*said, "synthetic", "set so: prep.size = 32"))
    found = json.loads((tmp_path / "runs/reproduced/networks/networks.json").read_text())
    assert [each["name"] for each in found] == ["V5NR", "V5NS", "V6", "V6c", "MMNet"]
    assert [each["summary"]["leaks"] for each in found] == [False, False, True, True, False]
    assert [each["summary"]["ties"] for each in found] == [*["earliest"] * 4, "latest"]
    assert all(each["summary"]["seeds"] == [0] for each in found)
    again = mer_search(*command, "--json")
    assert "cost: nothing, all 10 folds are on disk" in again.stderr
    assert json.loads(again.stdout) == found


def test_each_deviation_has_a_row_of_its_own(mer_search, tmp_path, clips):
    others = ("D9", "D10", "D12", "D17", "D22")  # of MMNet, and of V1 to V5
    own = [f"V6, {number} as ours" for number in DEVIATIONS if number not in others]
    assert [target.title for target in without_each("V6", {}, tmp_path)] == ["V6 as published", *own]
    result = mer_search("reproduce", "--deviations", "MMNet", "--data", clips, "--subjects", "21", *SETTINGS[:-2])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "runs/reproduced/deviations-MMNet/report.html").read_text()
    for number in ("D4", "D5", "D6", "D9", "D10"):
        assert f"MMNet, {number} as ours" in page
    assert "reproduce takes networks or --deviations" in mer_search("reproduce", "V1", "--deviations", "V1").stderr


def summary(uf1):
    """A summary with that UF1 under two rules."""
    rules = {
        rule: {"all": SCORE | {"uf1": uf1, "sd": None, "ci95": (0.1, 0.9)}} for rule in ("best_test_epoch", "tail")
    }
    named = {"synthetic": False, "dataset": "CASME II", "seeds": (0,), "baselines": {}, "uf1_bbc": None, "n_tuning": 0}
    return summary_with(rules=rules, **named)


def network(name, right):
    """A network that has so many of ten clips of each subject right; of one class of two."""
    matrices = {
        subject: confusion([0] * 10, [0] * count + [1] * (10 - count), 2)[None] for subject, count in right.items()
    }
    f1 = sum(right.values()) / 10 / len(right)
    return Reproduced(name, name, PRESETS[name].published_f1, summary(f1), matrices)


def test_the_best_version_is_decided_as_the_specification_says():
    few, many = {"sub01": 1, "sub05": 3, "sub12": 9}, {"sub01": 4, "sub05": 3, "sub12": 0}
    found = [network("V6", few), network("V6c", many), network("V5NR", few), network("V5NS", many)]
    steps = decide(found)
    assert [(step.step.name, step.winner) for step in steps] == [("V6?", "V6c"), ("V56?", "V6c"), ("best V5", "V6c")]
    assert steps[0].scores["V6c"] > steps[0].scores["V6"]  # of subjects 1 to 10, without sub12
    assert steps[2].scores == {}
    assert decide(found[:2])[-1].step.name == "V6?"
    assert "nothing to compare" in str(decision_table(steps).rows)


def test_published_figures_stand_beside_the_same_rules():
    found = [network("V4", dict.fromkeys(PUBLISHED_BY_SUBJECT["V4"], 9)), network("V3NR", {"sub05": 8})]
    table = networks_table(found)
    row = dict(zip(table.head, table.rows[1], strict=True))
    names = ("network", "tail", "published", "same rule")
    assert [row[name] for name in names] == ["V3NR", "0.800", "0.8650", "0.8000"]
    assert "sd" not in row  # of one seed
    assert mark(found) == "V4 has 0.9000 under the published rule, which reaches the mark of 0.8676."
    assert "cannot be set beside the mark" in mark([replace(found[0], comparable=False)])
    assert "does NOT reach" in mark(found[1:])
    assert subjects_table(found).cells[0] == ("sub05", "0.507", "0.474")
    assert subjects_table(found[1:]) is None
    assert deviation_sections(found)[0].blocks[0].rows[1][1:] == ("0.8000", "-0.1000", "0.8000", "-0.1000")


def test_all_variants_of_the_specification_are_rows():
    assert set(VARIANTS) == set(PRESETS) - {"MMNet-3"}


def small_run(name):
    return with_values(preset(name, "published"), SMALL | {"frames.crops": 0})


@pytest.mark.parametrize("name", ["V3NR", "V6c"])
def test_published_weights_are_scored_on_the_people_they_never_saw(name, mer_search, clips, tmp_path):
    run = small_run(name)
    loaded = load_data(clips, run, silent)
    folder = tmp_path / "weights"
    folder.mkdir()
    expected = {}
    for number in (3, 6):
        torch.manual_seed(number)
        public = public_network(loaded.run, 2, units=7)
        for part in public.modules():
            if hasattr(part, "running_mean"):
                torch.nn.init.uniform_(part.weight, 0.5, 1.5)
        torch.save(public.state_dict(), folder / f"{number}model.pth")
        ours = Network(loaded.run, 7)
        load_public_weights(ours, public.state_dict())
        own = [place for place, subject in enumerate(loaded.subjects) if subject == f"sub{number:02d}"]
        sets = loaded.tensors.first[own]
        flow, onset = (item[sets].float() for item in (loaded.tensors.flow, loaded.tensors.onset))
        probs = predict_proba(ours.eval(), loaded.run, flow, onset)
        expected[f"sub{number:02d}"] = float((probs.argmax(1).numpy() == loaded.labels[own]).mean())
    options = ["--preset", name, "--as-published", "--data", clips, *SETTINGS]
    result = mer_search("evaluate", folder, *options, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {each["subject"]: each["accuracy"] for each in found["subjects"]} == pytest.approx(expected)
    assert found["missing"] == ["sub16", "sub21"]
    shown = mer_search("evaluate", folder, *options).stdout
    assert "There are no weights for sub16, sub21" in shown
    assert "(LEAKS)" in shown
    own = tmp_path / "3.safetensors"
    save_file({name: item.contiguous() for name, item in ours.state_dict().items()}, own)
    assert ("(LEAKS)" in mer_search("evaluate", own, *options).stdout) == run.leaks
    shutil.copytree(clips, tmp_path / "broken")
    for path in (tmp_path / "broken/Cropped/sub06").rglob("*.*"):
        path.write_text("junk")
    options[options.index(clips)] = tmp_path / "broken"
    found = json.loads(mer_search("evaluate", folder, *options, "--json").stdout)
    assert [each["subject"] for each in found["subjects"]] == ["sub03"]
    one_line(mer_search("evaluate", folder / "6model.pth", *options), 1, "on clips of sub06, but none can be used")


def test_weights_beside_a_run_are_scored_as_its_networks_were(mer_search, tmp_path, clips):
    values = [*SETTINGS, "--set", "train.mirror=true", "--set", "prep.mask=none"]
    result = mer_search("confirm", "--preset", "V3NR", "--seeds", 1, "--data", clips, *values, "--json")
    assert result.exit_code == 0, result.output
    (checkpoints,) = (tmp_path / "runs/presets/confirm").glob("*/checkpoints")
    for path in checkpoints.glob("1000-*"):  # as of --keep-best
        shutil.copy(path, path.with_name(path.name.replace(".safe", ".best_test_epoch.safe")))
    best, own = ([p for p in checkpoints.iterdir() if ("best" in p.name) == kind] for kind in (True, False))
    assert "(LEAKS)" in mer_search("evaluate", *best, "--data", clips).stdout
    first = shutil.copy(own[0], checkpoints / "1000-sub03.action_units.safetensors")
    one_line(mer_search("evaluate", first, "--data", clips), 2, "is of the first of two stages")
    one_line(mer_search("evaluate", checkpoints, "--data", clips), 2, "there must be one file a subject", "such as")
    for path in (first, *best):
        Path(path).unlink()
    command = ["evaluate", checkpoints, "--data", clips]
    found = json.loads(mer_search(*command, "--json").stdout)
    last = json.loads(result.stdout)["rules"]["last"]["all"]
    assert [found[key] for key in ("uf1", "uar", "accuracy")] == [last[key] for key in ("uf1", "uar", "accuracy")]
    shutil.copytree(clips, tmp_path / "other")
    shutil.rmtree(next((tmp_path / "other/Cropped/sub03").iterdir()))
    one_line(
        mer_search("evaluate", checkpoints, "--data", "other"), 2, "(checksum ", "give the run's --data and --task"
    )
    write_flow_images(tmp_path / "flow")
    one_line(
        mer_search("evaluate", checkpoints, "--data", "flow"), 2, "(dataset casme2), but flow has others (megc2019)"
    )
    one_line(mer_search(*command, "--preset", "V3NR"), 2, "--preset, --as-published and --set go with weights", "leave")
    one_line(mer_search("evaluate", tmp_path / "none", "--data", clips), 2, "must be files or folders, but there is no")
    (copied,) = [shutil.copy(path, tmp_path) for path in checkpoints.glob("*sub03*")]
    one_line(mer_search("evaluate", copied, "--data", clips), 2, "--preset must say whose network the weights are")
    one_line(mer_search("evaluate", copied, "--data", clips, "--preset", "V4"), 2, "sub03.safetensors: the weights")


def test_what_a_file_of_weights_must_be(mer_search, clips, tmp_path):
    def told(*files, name="V3NR"):
        return mer_search("evaluate", *files, "--preset", name, "--as-published", "--data", clips, *SETTINGS).stderr

    (tmp_path / "empty").mkdir()
    assert "WEIGHTS must be files .pth, .pt, .safetensors" in told(tmp_path / "empty")
    for name in ("3.pth", "3.safetensors"):
        for content in (b"", b"no weights", b"hello", bytes(100)):
            (tmp_path / name).write_bytes(content)
            assert f"{name} must hold a network's tensors and nothing else" in told(tmp_path / name)
    (tmp_path / "3.safetensors").unlink()
    torch.save({1: torch.zeros(1)}, tmp_path / "6.pth")
    assert "must hold a network's state, a tensor a name" in told(tmp_path / "6.pth")
    torch.save({"x": torch.full((1,), torch.nan)}, tmp_path / "6.pth")
    assert "6.pth must hold finite weights" in told(tmp_path / "6.pth")
    torch.save([1, 2], tmp_path / "6.pth")
    assert "must hold a network's state, a tensor a name, but holds a list" in told(tmp_path / "6.pth")
    wider = Network(with_values(small_run("V3NR"), {"model.attention_width": 8}))
    torch.save(wider.state_dict(), tmp_path / "16.pth")
    assert "16.pth: the weights must have the shapes of this network, but have not: size mismatch" in told(
        tmp_path / "16.pth"
    )
    save_file({"x": torch.zeros(1)}, tmp_path / "21.safetensors")
    said = told(tmp_path / "21.safetensors")
    assert "21.safetensors: the weights must be of this network, but none of their names is" in said
    for name, message in (("network.pth", "but network.pth tells none"), ("3-and-6.pth", "but 3-and-6.pth tells none")):
        (tmp_path / name).touch()
        assert message in told(tmp_path / name)
    (tmp_path / "sub03.pth").touch()
    assert "of sub03 there are" in told(tmp_path / "3.pth", tmp_path / "sub03.pth")
    assert list(find_weights([tmp_path / "sub03.pth"], ["sub03", "sub13"])) == ["sub03"]
    (tmp_path / "first").mkdir()
    for name in ("0-sub03.safetensors", "0-sub03.action_units.safetensors", "3embed_model.pth"):
        (tmp_path / "first" / name).touch()
    assert find_weights([tmp_path / "first"], ["sub03"]) == {"sub03": tmp_path / "first" / "0-sub03.safetensors"}


def test_nothing_in_a_file_of_weights_is_run(mer_search, clips, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"x": Trap()}, tmp_path / "3.pth")
    result = mer_search("evaluate", tmp_path / "3.pth", "--preset", "V3NR", "--data", clips, *SETTINGS)
    one_line(result, 1, "cannot be read")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("recipe", ["", "--as-published"])
def test_exported_frames_give_the_same_motion(recipe, mer_search, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    if recipe:  # whose mask needs faces
        write_dataset(source, height=64, width=64, subjects=(21,))
    else:
        write_casme2(source, 1, per_subject=2)
        (source / MARKER).touch()
    result = mer_search("data", "export", out, "--data", source, "--set", "prep.size=20", *filter(None, [recipe]))
    assert result.exit_code == 0, result.output
    folder = open_folder(out)
    assert all(clip.processed for clip in folder.clips) and folder.synthetic
    assert len(folder.clips) == len(open_folder(source).clips) == 2
    values = {"prep.size": 20, "flow.size": 32, "frames.crops": 0}
    run = with_values(preset("V3NR", "published" if recipe else ""), values)

    for one, other in zip(open_folder(source).clips, folder.clips, strict=True):
        sets = frame_sets(one, run.frames)
        np.testing.assert_array_equal(measure(one, sets, run).flow, measure(other, sets, run).flow)
    one_line(mer_search("data", "export", out, "--data", source), 2, "must be a new or empty folder")
    inside = mer_search("data", "export", source / "new" / "one", "--data", source)
    one_line(inside, 2, "must lie outside the data's folder")


def test_an_export_of_which_no_clip_can_be_used_is_an_error_and_leaves_nothing(mer_search, tmp_path):
    write_casme2(tmp_path / "data", 1, per_subject=2)
    result = mer_search("data", "export", "out", "--data", "data", "--as-published")
    one_line(result, 1, "but none of 2 can be used; sub01/EP01_01f: prep.mask")
    assert not (tmp_path / "out").exists()


def test_a_confirmation_leaves_the_records_of_the_public_code(mer_search, tmp_path, clips):
    result = mer_search(
        "confirm", "--preset", "V6", "--as-published", "--data", clips, "--subjects", "3,6", "--seeds", 2, "--epochs",
        "--keep-best", *SETTINGS,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "V6 as published: sub03, seed 0, action units, epoch 1, lr 0.0008, loss" in result.stderr
    assert "V6 as published: sub06, seed 1, epoch 2, lr" in result.stderr
    assert "tail (LEAKS)" in result.stdout and "leak-free" not in result.stdout
    (folder,) = (tmp_path / "runs/presets/confirm").glob("V6-*-subjects-*")
    store = folder.with_name(folder.name.split("-2-subjects")[0])
    assert {path.name for path in (store / "checkpoints").iterdir()} == {
        f"{seed}-{subject}{kind}.safetensors"
        for seed in (0, 1) for subject in ("sub03", "sub06") for kind in ("", ".best_test_epoch", ".action_units")
    }  # fmt: skip
    best, every = rows(folder / "published.csv"), rows(folder / "epochs.csv")
    assert [(row["seed"], row["subject"]) for row in best] == list(product("01", ("sub03", "sub06")))
    for row in best:
        own = [each for each in every if (each["seed"], each["subject"]) == (row["seed"], row["subject"])]
        assert [each["epoch"] for each in own] == ["1", "2"]
        chosen = own[int(row["best_epoch"]) - 1]
        assert all(chosen[key] == row[key] for key in ("prediction", "TP", "FP", "FN", "accuracy", "F1"))
        assert float(row["F1"]) == max(float(each["F1"]) for each in own)
    units = rows(folder / "action_units.csv")
    truth = {clip.id: "+".join(sorted(clip.action_units)) for clip in open_folder(clips).clips}
    assert len(units) == 2 * sum(int(row["clips"]) for row in best[:2])
    assert all(sorted(row["truth"].split("+")) == sorted(truth[row["clip"]].split("+")) for row in units)
    assert "tail, seeds averaged (LEAKS)" in result.stdout
    assert mer_search("verify", folder).exit_code == 0
    (folder / "published.csv").write_text((folder / "published.csv").read_text().replace("sub03", "sub04", 1))
    assert "published.csv must be what the predictions give" in mer_search("verify", folder).output


@pytest.mark.parametrize(("name", "kept"), [("MMNet", "latest_best_test_epoch"), ("V3NR", "best_test_epoch")])
def test_the_best_network_that_is_kept_is_that_of_the_presets_ties(name, kept, mer_search, tmp_path, clips):
    asked = ["confirm", "--preset", name, "--as-published", "--data", clips, "--subjects", "3,6", "--seeds", 1]
    asked += [*(SETTINGS[:-2] if name == "MMNet" else SETTINGS), "--set", "train.epochs=6"]
    result = mer_search(*asked, "--keep-best")
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs/presets/confirm").glob(f"{name}-*-subjects-*")
    store = folder.with_name(folder.name.split("-2-subjects")[0])
    steps = None
    for row in rows(folder / "published.csv"):
        files = [store / "checkpoints" / f"0-{row['subject']}{kind}.safetensors" for kind in ("", f".{kept}")]
        last, best = (int(load_file(file)["internal.0.1.num_batches_tracked"]) for file in files)
        steps = steps or last // 6
        assert (last, best) == (6 * steps, int(row["best_epoch"]) * steps)
    assert "warning" not in mer_search(*asked, "--keep-best").stderr
    for file in (store / "checkpoints").glob(f"*.{kept}.safetensors"):
        file.unlink()
    assert "2 folds of" in mer_search(*asked, "--keep-best").stderr
    assert mer_search("verify", folder).exit_code == 0


def test_networks_as_published_are_compared_with_the_seeds_of_the_public_code(mer_search, clips):
    words = ["--as-published", "--data", clips, "--subjects", "3,6", "--seeds", 1, "--json", *SETTINGS]
    result = mer_search("compare", "V3NR", "V4", *words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    names = [each["name"].partition(" with ")[0] for each in found["networks"]]
    assert names == ["V3NR as published", "V4 as published"]
    assert found["seeds"] == [0]


def test_networks_of_other_classes_are_refused_before_motion_is_measured(mer_search, clips):
    result = mer_search("reproduce", "MMNet-3", "V3NR", "--data", clips)
    said = "the same data.task, but MMNet-3 as published has 3 and V3NR as published has the dataset's first"
    one_line(result, 2, said)
    assert "clips and their motion" not in result.stderr


def test_a_trial_is_not_confirmed_with_seeds_that_its_search_may_have_used(tmp_path, tiny):
    published, own = preset_target("V3NR", {}, tmp_path, "published"), preset_target("V3NR", {}, tmp_path)
    assert [list(seeds_of([each], 2, None)) for each in (published, own)] == [[0, 1], [1000, 1001]]
    assert list(seeds_of([own], 1, 0)) == [0]
    with pytest.raises(UsageError, match="seeds that its search cannot have used, from 1000 on, but --seed is 7"):
        seeds_of([replace(own, checksum="of a study")], 1, 7)


def test_the_parts_of_what_the_hardest_leave_are_known(tiny_clips):
    assert tiny_clips().select("h7-balance1") == ("sub01", "sub02", "sub04")
