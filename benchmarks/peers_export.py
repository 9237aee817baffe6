"""What RecBole is given: our interactions in its file format, our settings in its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from lrd_jax.config.schema import Config
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.folder import write_tsv
from lrd_jax.errors import UserError

DATASET = "interactions"
CUTOFF = 10
METRIC = f"NDCG@{CUTOFF}"
RECBOLE_NAMES = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "caser": "Caser"}


def write_interactions(corpus: Corpus, folder: Path) -> Path:
    """Writes DATASET/DATASET.inter, RecBole's atomic file: user, item and time, every user's in order.

    The time is the place in the user's sequence, so that equal seconds cannot be put in another order. From such a file
    RecBole makes an example of every interaction but a user's first, and gives the last two to test and validation.

    Raises:
      UserError: the dataset is split otherwise, or has users with fewer than four interactions.

    Source of the format: recbole.io/atomic_files.
    """
    starts, ends = corpus.sequence_offsets[1:-1], corpus.sequence_offsets[2:]
    as_recbole_splits = (
        np.array_equal(np.sort(corpus.test.rows), ends - 1)
        and np.array_equal(np.sort(corpus.dev.rows), ends - 2)
        and (ends - starts >= 4).all()
    )
    if not as_recbole_splits:
        raise UserError(
            "every user needs four interactions, the last of them in test.csv and the one before it in dev.csv",
            file=corpus.name,
            field="--data",
            remedy="Leave out --data for MovieLens-100k",
        )
    columns = {
        "user_id:token": corpus.sequence_users,
        "item_id:token": corpus.sequence_items,
        "timestamp:float": np.arange(len(corpus.sequence_users)) - corpus.sequence_offsets[corpus.sequence_users],
    }
    path = folder / DATASET / f"{DATASET}.inter"
    path.parent.mkdir()
    write_tsv(path, pl.DataFrame(columns))
    return path


def recbole_settings(config: Config, folder: Path, *, use_gpu: bool) -> dict:
    """RecBole's configuration for the same data, sizes, loss, optimizer and evaluation.

    What only RecBole has (an L2 term of Caser's, initialisation) stays as it sets it.

    Args:
      config: ours, of one of RECBOLE_NAMES.
      folder: where `write_interactions` has written.
      use_gpu: train on the GPU.
    """
    return {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "MAX_ITEM_LIST_LENGTH": config.data.history_length,
        "train_batch_size": config.optim.batch_size,
        "learning_rate": config.optim.learning_rate,
        "weight_decay": config.optim.l2,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "metrics": ["NDCG"],
        "topk": [CUTOFF],
        "valid_metric": METRIC,
        "metric_decimal_place": 6,
        "seed": config.run.seed,
        "use_gpu": use_gpu,
        "show_progress": False,
        **_sizes(config),
    }


def _sizes(config: Config) -> dict:
    model = config.model
    match model.name:
        case "sasrec":
            return {
                "n_layers": model.num_layers,
                "n_heads": model.num_heads,
                "hidden_size": model.embedding_dim,
                "inner_size": model.embedding_dim,
                "hidden_act": "relu",
                "layer_norm_eps": 1e-5,
                "hidden_dropout_prob": model.dropout,
                "attn_dropout_prob": model.dropout,
            }
        case "gru4rec":
            return {
                "embedding_size": model.embedding_dim,
                "hidden_size": model.gru_hidden_dim,
                "num_layers": 1,
                "dropout_prob": model.dropout,
            }
        case "caser":
            return {
                "embedding_size": model.embedding_dim,
                "nh": model.num_horizontal_filters,
                "nv": model.num_vertical_filters,
                "dropout_prob": model.dropout,
            }
