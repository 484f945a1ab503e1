"""What bfloat16 does to UF1, over the same folds and seeds. Run it: python benchmarks/precision.py --device cuda

On a CPU without units for bfloat16 it is emulated, which is slow and changes nothing about the result. What is shown:
the difference of the seeds' mean UF1, beside the standard deviation that the seeds alone have.
"""

import argparse
import statistics
from pathlib import Path
from unittest.mock import patch

import torch

from mer_search.config import with_values
from mer_search.evaluation.metrics import pooled_uf1, tail
from mer_search.search import space
from mer_search.search.workspace import find_data, load_data
from mer_search.training import predict_proba
from mer_search.training.loop import train_fold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    file = space.load(options.study)
    loaded = load_data(find_data(options.data, lambda *_: None), file.base, lambda *_: None)
    run = with_values(loaded.run, {**(file.start[0] if file.start else {}), "train.epochs": options.epochs})
    clips, people = loaded.tensors.to(options.device), loaded.select(file.subjects)
    found: dict[torch.dtype, list[float]] = {}
    for kind in (torch.float32, torch.bfloat16):
        with patch.object(predict_proba, "precision", lambda run, device, kind=kind: kind):
            found[kind] = [
                pooled_uf1([train_fold(run, clips, person, seed).predictions for person in people], tail)
                for seed in range(options.seeds)
            ]
        print(kind, " ".join(f"{uf1:.3f}" for uf1 in found[kind]), flush=True)
    exact, rough = found.values()
    differences = [other - one for one, other in zip(exact, rough, strict=True)]
    print(
        f"bfloat16 - float32: {statistics.mean(differences):+.3f} (seed by seed "
        f"{' '.join(f'{each:+.3f}' for each in differences)}); sd over seeds {statistics.stdev(exact):.3f}"
    )


if __name__ == "__main__":
    main()
