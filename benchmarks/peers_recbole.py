"""RecBole's side of `benchmarks.peers`, run by the Python of RecBole's own environment: nothing here is of lrd_jax.

The first line of stdin is JSON: {"model": "SASRec", "settings": RecBole's configuration}. The answer is a line of JSON
that describes the training. Then each line of stdin is a command, answered by a line of JSON:

    train       one more epoch
    validate    rank the validation targets and keep the best weights so far
    test        rank the test targets with the best weights

The answer is {"seconds", "value"}, the value being the loss, a mean over the batches, or the metric.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import sys
import time

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import get_model, get_trainer, init_seed

DATASET = "interactions"
RANKINGS = 5  # of which the median counts: the first pays for caches that the training has left cold


class UnseenRanking(FullSortEvalDataLoader):
    """RecBole's batches for ranking all items, with the indices of the items that each user has seen.

    RecBole leaves items out by such indices for other recommenders, but passes none for sequential ones.
    """

    def __init__(self, loader, seen):
        """seen: scipy CSR matrix [users, items], not zero where the user has seen the item."""
        super().__init__(loader.config, loader.dataset, loader.sampler)
        self._seen = seen

    def collate_fn(self, index):
        """(interaction, (batch rows, seen items), rows of targets, targets)."""
        interaction, _, rows, targets = super().collate_fn(index)
        users, items = self._seen[interaction[self.uid_field].numpy()].nonzero()
        return interaction, (torch.from_numpy(users).long(), torch.from_numpy(items).long()), rows, targets


class Training:
    """A model of RecBole with its data, trained and evaluated by RecBole's own trainer."""

    def __init__(self, model: str, settings: dict):
        """Reads and augments the data, builds the model."""
        config = Config(model=model, dataset=DATASET, config_dict=settings)
        init_seed(config["seed"], config["reproducibility"])
        self._train, valid, test = data_preparation(config, create_dataset(config))
        seen = self._train.dataset.inter_matrix(form="csr")
        self._valid = UnseenRanking(valid, seen)
        self._test = UnseenRanking(test, seen + valid.dataset.inter_matrix(form="csr"))
        self._model = get_model(config["model"])(config, self._train.dataset).to(config["device"])
        self._trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, self._model)
        self._trainer.eval_collector.data_collect(self._train)
        self._metric = config["valid_metric"].lower()
        self._epoch, self._best, self._best_weights = 0, -1.0, None

    def describe(self) -> dict:
        """What is trained and on what."""
        device = self._trainer.device
        return {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "torch": torch.__version__,
            "examples": len(self._train.dataset),
            "parameters": sum(p.numel() for p in self._model.parameters() if p.requires_grad),
        }

    def train(self) -> dict:
        """Trains one more epoch."""
        started = time.perf_counter()
        loss = self._trainer._train_epoch(self._train, self._epoch)
        self._epoch += 1
        return {"seconds": time.perf_counter() - started, "value": float(loss) / len(self._train)}

    def validate(self) -> dict:
        """Ranks the validation targets and keeps the weights if they are the best so far."""
        ranked = self._rank(self._valid)
        if ranked["value"] > self._best:
            self._best, self._best_weights = ranked["value"], copy.deepcopy(self._model.state_dict())
        return ranked

    def test(self) -> dict:
        """Ranks the test targets with the best weights."""
        self._model.load_state_dict(self._best_weights)
        return self._rank(self._test)

    def _rank(self, targets: UnseenRanking) -> dict:
        seconds = []
        for _ in range(RANKINGS):
            started = time.perf_counter()
            result = self._trainer.evaluate(targets, load_best_model=False)
            seconds.append(time.perf_counter() - started)
        return {"seconds": statistics.median(seconds), "value": float(result[self._metric])}


def main() -> None:
    """Answers the commands until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print must not get among the answers
    training = Training(**json.loads(sys.stdin.readline()))
    commands = {"train": training.train, "validate": training.validate, "test": training.test}
    print(json.dumps(training.describe()), file=answers)
    for line in sys.stdin:
        print(json.dumps(commands[line.strip()]()), file=answers)


if __name__ == "__main__":
    main()
