"""One fold trained on small data: who is tested, with everything switched on, and how it is called."""

from mer_search.config import with_values
from mer_search.training.loop import train_fold

ALL_AT_ONCE = {"train.mixup": 0.4, "train.noise": 0.1, "train.class_weights": 1.0, "model.dropout": 0.2}
TWO_STAGES = {
    "units.use": "as_they_are", "units.epochs": 2, "units.lr": 2e-3, "units.unfreeze_epoch": 2, "train.epochs": 3,
    "frames.jitter": 0.0,
}  # fmt: skip
TEST = "sub02"  # its clips are the 6 from number 6 on; 18 train


def train(loaded, seed=0, on_epoch=lambda epoch: None, clips=None, until=None, kept=None, microbatches=1, **values):
    run = with_values(loaded.run, {key.replace("__", "."): value for key, value in values.items()})
    return train_fold(run, clips or loaded.tensors, TEST, seed, on_epoch, until, kept, microbatches)


def losses(trained):
    return [epoch.train_loss for epoch in trained.history]
