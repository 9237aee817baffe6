"""Every option of a run, defined once: typed, documented, validated.

The defaults are the quick start: KDA_LRD with one pass on MovieLens-100k, chosen on dev to give good results within
minutes. The files in configs/ hold only the differences that give the published settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lrd_jax import plugins

CUTOFFS = (5, 10)
"""The default values of K in HR@K and NDCG@K."""

QUICK_START_DATASET = "ml-100k"
"""The dataset that is used when data.path is None."""

WORDLLAMA_DIMENSIONS = 256
"""Full width of wordllama, the only encoder with a width that is known before it runs."""

Precision = Literal["float32", "tf32", "bfloat16"]

Negatives = Literal["unseen-in-training", "published"]

COUNTING_MODELS = ("popularity", "item_knn")
"""Models without trained parameters."""
RELATIONAL_MODELS = ("rcf", "kda", "rcf_lrd", "kda_lrd")
"""Models that use item relations. All remaining models are sequence models: those of `plugins.MODELS`."""

if TYPE_CHECKING:  # the valid names depend on the installed packages
    ModelName = str
    EncoderName = str
else:
    ModelName = Literal[*COUNTING_MODELS, *plugins.names(plugins.MODELS), *RELATIONAL_MODELS]
    EncoderName = Literal[*plugins.names(plugins.ENCODERS)]


def _disagreement(key: str, problem: str, remedy: str) -> PydanticCustomError:
    """The error that a rule between options raises; `messages.explain` turns it into a message."""
    return PydanticCustomError("sections_disagree", "{error}", {"error": problem, "key": key, "remedy": remedy})


class Section(BaseModel):
    """A frozen group of options that forbids unknown keys, infinities and NaN."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class DataConfig(Section):
    """The interactions to train on."""

    path: Path | None = None
    """Dataset folder (train.csv, dev.csv, test.csv, item_meta.csv). None: MovieLens-100k, prepared automatically."""
    history_length: int = Field(20, ge=1, le=10_000)
    """Number of a user's most recent interactions that the model sees."""


class EncoderConfig(Section):
    """A language model that turns texts into vectors."""

    encoder: EncoderName = "wordllama"
    """What embeds the texts: a language model, or file for an array of embeddings made elsewhere."""
    model: str | None = Field(None, min_length=1)
    """The encoder's model: a folder; for sentence-transformers a folder or a name on the Hugging Face hub; for openai a
    model of the API. None: the encoder's default model, if it has one."""
    dimensions: int | None = Field(None, ge=1)
    """Width of the text embeddings. None: the encoder's full width (wordllama: 256)."""
    file: Path | None = None
    """For encoder file: the embeddings, one row per item, starting with item 1. A .npy file, an .npz file
    (FILE.npz:NAME if it holds several arrays), or the raw float64 or float32 numbers that the published code reads."""

    @property
    def known_dimensions(self) -> int | None:
        """The width, if it is known without running the encoder; otherwise None."""
        return WORDLLAMA_DIMENSIONS if self.dimensions is None and self.encoder == "wordllama" else self.dimensions

    @model_validator(mode="after")
    def _encoder_takes_them(self) -> Self:
        if "encoder" in self.model_fields_set:  # the default is checked where it is used
            plugins.check_name(plugins.ENCODERS, self.encoder)
        if self.file is not None and self.encoder != "file":
            raise _disagreement(
                "text.file",
                f"the encoder is {self.encoder}, which embeds the texts itself",
                "Choose file as the encoder, or leave the file out",
            )
        if self.model is not None and self.encoder in ("wordllama", "file"):
            raise _disagreement(
                "text.model",
                f"the encoder {self.encoder} has no models to choose from",
                "Leave the model out, or choose another encoder",
            )
        return self


class TextConfig(EncoderConfig):
    """The language model that embeds the item texts. Used by the LRD models only."""

    scale: float = Field(1.0, gt=0.0)
    """Factor on the text embeddings. Those of an encoder have length 1; those of a file are used unchanged."""


class ModelConfig(Section):
    """The recommender."""

    name: ModelName = "kda_lrd"
    """RCF or KDA, each without or with latent relation discovery; a sequence model, which uses no relations; or
    popularity or ItemKNN, which have no trained parameters."""
    embedding_dim: int = Field(64, ge=1)
    """Width of user, entity (item) and relation embeddings."""
    num_layers: int = Field(1, ge=0)
    """Number of passes of the shared attention block over the relation tokens (published: 5); for SASRec and TiSASRec,
    the number of attention blocks."""
    num_heads: int = Field(4, ge=1)
    """Attention heads; must divide the embedding width."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout rate in the attention blocks, on GRU4Rec's input embeddings and on the outputs of Caser's filters."""
    pooling: Literal["mean", "max", "attention"] = "mean"
    """How the relation tokens become one vector."""
    attention_dim: int = Field(10, ge=1)
    """Width of attention pooling."""
    include_value: bool = True
    """Add the embedding of the candidate's attribute value to the relation embedding."""
    precision: Precision = "float32"
    """Number format of the operands in the recommender's matrix products. Sums, softmax, normalisation, parameters and
    Adam are always float32."""
    num_neighbours: int = Field(100, ge=1)
    """Number of most similar items that ItemKNN keeps for each item."""
    num_latent_relations: int = Field(6, ge=1)
    """Number of latent relations that LRD discovers. Used by the LRD models only."""
    classifier_input: Literal["text", "id"] = "text"
    """Input of the relation classifier for each item: its text embedding, or its learned embedding (the paper's "w/o
    LLM"). Used by the LRD models only."""
    relation_prior: Literal["none", "fixed", "learned"] = "none"
    """Whether the classifier's log q is added to the logits of the weights over the history, so that language
    knowledge enters the ranking; "fixed" lets no gradient of the recommendation loss through it. Not in the paper.
    Used by the LRD models only."""
    num_dft_points: int = Field(64, ge=2, multiple_of=2)
    """Number of points of the Fourier transform in KDA's temporal decay; it has num_dft_points / 2 + 1 frequencies."""
    decay_init: Literal["dft", "flat", "random"] = "dft"
    """Initial values of KDA's temporal decay: the histogram of observed intervals, 0.9 everywhere, or random as
    published, which is zero on about half of the intervals."""
    num_horizontal_filters: int = Field(16, ge=1)
    """Number of Caser's horizontal filters (over successive items) of each height."""
    num_vertical_filters: int = Field(8, ge=1)
    """Number of Caser's vertical filters (over the positions of the history)."""
    max_filter_height: int = Field(4, ge=1)
    """Height of Caser's tallest horizontal filter, in successive items; at most the history length."""
    gru_hidden_dim: int = Field(100, ge=1)
    """Width of GRU4Rec's hidden state."""
    gru_out_bias: bool = False
    """Add a bias to the linear layer after GRU4Rec's state, as in current ReChorus; the paper's code has none."""
    time_max: int = Field(512, ge=1)
    """Longest interval that TiSASRec distinguishes, in units of the user's shortest interval."""
    longest_time_unit: int | None = Field(None, ge=1, lt=2**31)
    """Largest unit of TiSASRec's intervals, in seconds (published: 65535, less than a day). None: no limit."""

    @property
    def is_relational(self) -> bool:
        """Whether the model uses item relations, and so has a knowledge-graph loss."""
        return self.name in RELATIONAL_MODELS

    @property
    def learns(self) -> bool:
        """Whether the model has trained parameters."""
        return self.name not in COUNTING_MODELS

    @property
    def is_sequence(self) -> bool:
        """Whether the model encodes the history as one vector, and so can be trained with any `rec_objective`."""
        return self.learns and not self.is_relational

    @property
    def discovers_relations(self) -> bool:
        """Whether the model has latent relations."""
        return self.is_relational and self.name.endswith("_lrd")

    @property
    def has_heads(self) -> bool:
        """Whether the model is built in and has attention heads."""
        return self.is_relational or self.name in ("sasrec", "tisasrec")

    def check_name(self) -> None:
        """Rejects a name that more than one package uses.

        Raises:
          UserError: see `plugins.check_name`.
        """
        plugins.check_name(plugins.MODELS, self.name, COUNTING_MODELS + RELATIONAL_MODELS)

    @model_validator(mode="after")
    def _name_is_clear(self) -> Self:
        if "name" in self.model_fields_set:  # the default is checked where it is used
            self.check_name()
        return self

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.has_heads and self.embedding_dim % self.num_heads:
            raise ValueError(f"embedding_dim ({self.embedding_dim}) must be a multiple of num_heads ({self.num_heads})")
        return self


class LossConfig(Section):
    """The joint objective: recommendation + kg_weight · knowledge graph + lrd_weight · latent relations (Eq. 16).

    Sequence models have the first term only.
    """

    rec_objective: Literal["bpr", "cross_entropy", "sampled_softmax", "gbce"] = "bpr"
    """The recommendation loss: bpr as published. For sequence models also cross_entropy over all items,
    sampled_softmax (cross entropy over the positive and its negatives), or gbce (gSASRec's generalised binary cross
    entropy)."""
    calibration: float = Field(0.75, ge=0.0, le=1.0)
    """How far gbce corrects the overconfidence caused by few negatives: 0 not at all, 1 fully (gSASRec: 0.75)."""
    num_negatives: int = Field(4, ge=1)
    """Number of negative items per positive (published: 1). Not used by cross_entropy."""
    negatives: Negatives = "unseen-in-training"
    """Which items can be negatives of a user. unseen-in-training: all items outside the user's training interactions.
    published: the user's dev and test items are excluded too, as in the published code. This leaks the test set: the
    held-out items are then the only unseen items with scores that training never lowers."""
    history_negatives: Negatives = "unseen-in-training"
    """The same choice for the items that replace the history in the latent-relation loss. Here too, published leaks the
    test set."""
    kg_weight: Literal["auto"] | Annotated[float, Field(ge=0.0)] = 5.0
    """Weight of the knowledge-graph loss. auto: the number of stored triples per interaction, as published."""
    lrd_weight: float = Field(1.0, ge=0.0)
    """Weight of the latent-relation loss (published: 10, with the released objective). Used by the LRD models only."""
    lrd_objective: Literal["paper", "released"] = "paper"
    """The latent-relation loss: Eq. 14 as printed in the paper, or as the published code computes it."""
    entropy_weight: float = Field(0.1, ge=0.0)
    """Weight of the posterior's entropy within the latent-relation loss."""


class OptimConfig(Section):
    """Adam with L2 regularisation added to the gradient, except for biases."""

    learning_rate: float = Field(2e-3, gt=0.0)
    """Adam's step size (published: 1e-3 for KDA, 1e-4 for RCF)."""
    l2: float = Field(1e-6, ge=0.0)
    """Coefficient of the L2 regularisation."""
    batch_size: int = Field(256, ge=1, le=1_000_000)
    """Number of training examples per step."""
    update: Literal["dense", "lazy"] = "dense"
    """Which rows of the embedding tables a step updates. dense: all rows. lazy: only the rows that the batch looks up
    (lazy Adam: other rows get no L2 and keep their moments), which is faster for large tables."""

    @field_validator("update", mode="before")
    @classmethod
    def _read_earlier_word(cls, value: object) -> object:
        """Accepts "touched", the word for "lazy" in run folders of earlier versions."""
        return "lazy" if value == "touched" else value


class RunConfig(Section):
    """How long to train and where to write the results."""

    workdir: Path | None = None
    """Run folder. None: runs/DATASET-MODEL-seedN."""
    init_from: Path | None = None
    """Run folder of the same model, sizes and dataset. Training starts from its best parameters, with Adam's moments at
    zero. None: random parameters."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of every random stream."""
    epochs: int = Field(200, ge=1)
    """Maximum number of epochs."""
    patience: int = Field(5, ge=1)
    """Stop when dev NDCG@5 has not improved for this many epochs (the paper: 10)."""
    early_stopping: Literal["patience", "published"] = "patience"
    """patience: see run.patience. published: the rule of the published code, which trains for at least 21 epochs and
    stops when dev NDCG@5 has not risen over 5 epochs in a row, or has had no new best for 20 epochs."""
    refit_of: Path | None = None
    """Set by --refit: the run whose options and number of epochs this one has. All interactions train, those of dev and
    test too, so that nothing can be evaluated."""
    cpu_devices: int | None = Field(None, ge=1)
    """Without an accelerator: number of single-threaded CPU devices that share each batch. None: one per core. The
    order of sums and the dropout depend on it, so the run folder records it."""


class Config(Section):
    """Train a sequential recommender and test its best epoch."""

    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        name, objective, prior = self.model.name, self.loss.rec_objective, self.model.relation_prior
        if objective != "bpr" and not self.model.is_sequence:
            *others, last = plugins.names(plugins.MODELS)
            raise _disagreement(
                "loss.rec_objective",
                f"{name} is not trained with {objective}",
                f"Leave it at bpr, or choose {', '.join(others)} or {last} as model.name",
            )
        if objective == "cross_entropy" and self.optim.update == "lazy":
            raise _disagreement(
                "optim.update",
                "cross_entropy looks up every item, so lazy updates would leave no row out",
                "Use dense updates, or another loss.rec_objective",
            )
        if prior != "none" and not self.model.discovers_relations:
            raise _disagreement(
                "model.relation_prior",
                f"{name} has no relation classifier",
                "Leave it at none, or choose rcf_lrd or kda_lrd as model.name",
            )
        if prior == "fixed" and self.loss.lrd_weight == 0:
            raise _disagreement(
                "model.relation_prior",
                "with loss.lrd_weight 0 nothing trains the classifier whose posterior would be the prior",
                "Choose learned, or raise loss.lrd_weight",
            )
        if name == "caser" and self.model.max_filter_height > self.data.history_length:
            raise _disagreement(
                "model.max_filter_height",
                f"a filter over {self.model.max_filter_height} items does not fit into data.history_length"
                f" ({self.data.history_length})",
                "Lower it, or lengthen the history",
            )
        return self

    @property
    def uses_classifier(self) -> bool:
        """Whether the relation classifier is used; otherwise latent relations are ordinary learned relations."""
        wanted = self.loss.lrd_weight > 0 or self.model.relation_prior != "none"
        return self.model.discovers_relations and wanted

    @property
    def uses_text(self) -> bool:
        """Whether text embeddings are used."""
        return self.uses_classifier and self.model.classifier_input == "text"

    @property
    def leak(self) -> str | None:
        """How the test set leaks into training, in words; None if it does not."""
        samples = self.model.learns and self.loss.rec_objective != "cross_entropy"
        has_history_negatives = self.model.discovers_relations and self.loss.lrd_weight > 0
        leaks = [
            name
            for name, rule, used in (
                ("recommendation", self.loss.negatives, samples),
                ("history", self.loss.history_negatives, has_history_negatives),
            )
            if rule == "published" and used
        ]
        return f"leak in {' and '.join(leaks)} negatives" if leaks else None

    @property
    def untestable(self) -> str | None:
        """Why the run cannot be evaluated, in words; None where it can."""
        refit = self.run.refit_of
        return None if refit is None else f"refit of {refit}: trained on test too, cannot be tested"

    @property
    def model_title(self) -> str:
        """The model's name for tables. If the test set leaks into training, the name includes the leak."""
        return f"{self.model.name} ({self.leak})" if self.leak else self.model.name

    @property
    def dataset_name(self) -> str:
        """Name of the dataset folder."""
        return self.data.path.resolve().name if self.data.path is not None else QUICK_START_DATASET

    @property
    def run_folder(self) -> Path:
        """run.workdir, or runs/DATASET-MODEL-seedN under the current directory."""
        return self.run.workdir or Path("runs") / f"{self.dataset_name}-{self.model.name}-seed{self.run.seed}"

    def for_seed(self, seed: int) -> Config:
        """The same configuration with another seed and its own run folder: seedN below run.workdir, if that is set."""
        workdir = self.run.workdir and self.run.workdir / f"seed{seed}"
        return self.model_copy(update={"run": self.run.model_copy(update={"seed": seed, "workdir": workdir})})
