"""What we compute of golden files beside what they hold, through the code that trains and evaluates."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np

from lrd_jax.data.batch import Batch, Tables, from_host
from lrd_jax.interop.golden import Golden, read_golden, read_inputs
from lrd_jax.interop.golden_case import Case, build_case
from lrd_jax.interop.parameter_names import PUBLISHED, TEXT, TIED, to_published
from lrd_jax.models.losses import entropy, lrd_paper_loss
from lrd_jax.models.lrd import RelationClassifier, RelationLogits, log_posterior
from lrd_jax.models.precision import in_float32
from lrd_jax.models.system import Params, RelationalSystem
from lrd_jax.ranking.metrics import ranking_metrics, target_counts, target_ranks

VALUE_TOLERANCE = 1e-5
"""Largest absolute difference of a value."""
GRADIENT_TOLERANCE = 1e-4
"""Largest difference of a gradient, relative to its largest entry, or to `GRADIENT_FLOOR` where that is larger."""
GRADIENT_FLOOR = 2e-3
"""Gradients smaller than this are compared to 2e-7 absolute. The files are float32: what these gradients are small
differences of is of order 1, so that rounding alone makes up 1e-7 of them, which was seen to be 3e-4 of the largest."""

Values: TypeAlias = Mapping[str, np.ndarray | jax.Array | float]


class Compared(NamedTuple):
    """One quantity of a file beside ours.

    Attributes:
      name: out/... or grad/....
      difference: the largest absolute difference; NaN where one of the two is.
      relative: of a gradient, the difference over its largest entry or `GRADIENT_FLOOR`, whichever is larger; None of a
        value.
    """

    name: str
    difference: float
    relative: float | None

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance; NaN is not."""
        if self.relative is None:
            return self.difference <= VALUE_TOLERANCE
        return self.relative <= GRADIENT_TOLERANCE


@in_float32
def compare_file(path: Path) -> list[Compared]:
    """Computes everything that a golden file holds.

    Raises:
      UserError: the file cannot be read, is of an unknown model, has parameters that nothing consumes or lacks some,
        or holds an output or a gradient that is not computed, or lacks one that is.
    """
    golden = read_golden(path)
    values: Values
    gradients: Values
    if golden.model == "ranking_metrics":
        values, gradients = _ranking(golden), {}
    elif golden.model == "lrd_paper":
        values, gradients = _paper_objective(golden)
    elif golden.model in PUBLISHED:
        values, gradients = _published_model(golden)
    else:
        known = ", ".join([*PUBLISHED, "lrd_paper", "ranking_metrics"])
        raise golden.refuse(f"{golden.model!r} is none of {known}", "hyper/model")
    consumed = {"scores"} if golden.model == "ranking_metrics" else set()
    if unknown := set(golden.other) - consumed:
        raise golden.refuse("nothing consumes this array", min(unknown))
    compared = _beside(golden, "out", values) + _beside(golden, "grad", gradients)
    if not compared:
        raise golden.refuse("it holds no outputs to compare with", "out")
    return compared


def report(path: Path, compared: Sequence[Compared]) -> str:
    """A line for each quantity of a file: its largest absolute difference; for a gradient, also the relative one."""
    lines, width = [str(path)], max(len(one.name) for one in compared)
    for one in compared:
        relative = "" if one.relative is None else f"  {one.relative:.2e} relative"
        lines.append(f"  {one.name:<{width}}  {one.difference:.2e}{relative}{'' if one.agrees else '  DIFFERS'}")
    return "\n".join(lines)


def summary(files: Sequence[Sequence[Compared]]) -> tuple[str, bool]:
    """The last line of `interop parity`, and whether everything agrees.

    The gradient differences in it are `Compared.relative`.
    """
    everything = [compared for file in files for compared in file]
    values = [compared.difference for compared in everything if compared.relative is None]
    gradients = [compared.relative for compared in everything if compared.relative is not None]
    value, gradient = (np.max(differences, initial=0.0) for differences in (values, gradients))
    line = f"parity: {len(files)} files, max value difference {value:.2e}, max gradient difference {gradient:.2e}"
    return line, all(compared.agrees for compared in everything)


def _beside(golden: Golden, section: str, ours: Values) -> list[Compared]:
    """Compares a section with ours, which must hold the same names but for aliases."""
    theirs = getattr(golden, section)
    for name in theirs:
        if name not in ours:
            raise golden.refuse("this is not computed, so it cannot be compared", f"{section}/{name}")
    compared = []
    for name in ours:
        expected, actual = np.asarray(golden.get(section, name), np.float64), np.asarray(ours[name], np.float64)
        if expected.shape != actual.shape:
            problem = f"expected shape {actual.shape}, got {expected.shape}"
            raise golden.refuse(problem, f"{section}/{name}")
        difference, relative = float(np.max(np.abs(actual - expected))), None
        if section == "grad":
            relative = float(difference / np.maximum(np.max(np.abs(expected)), GRADIENT_FLOOR))
        compared.append(Compared(f"{section}/{name}", difference, relative))
    return compared


def _published_model(golden: Golden) -> tuple[Values, Values]:
    """Outputs by name and gradients by published name of a system, computed by its own methods."""
    case = build_case(golden)
    (gradients, text_gradient), values = _outputs_and_gradients(case)
    names = {*golden.param} - set(TIED) | set(TIED) & set(golden.grad)
    ours = to_published(golden.model, gradients, {name: golden.param[name].shape for name in names - {TEXT}})
    if text_gradient is not None:
        # Padding is row 0, which takes no gradient in the published code (padding_idx) and counts in the loss all the
        # same: it is an input here, so its gradient is left out of the comparison by being 0 on our side too.
        ours[TEXT] = np.asarray(text_gradient.at[0].set(0.0))
    if len(case.system.loss_weights) == 1 and "rec_loss" not in golden.out:
        del values["rec_loss"]  # files of sequence models have it under the name loss only
    return values, {name: ours[name] for name in golden.param if name in ours}


def _outputs_and_gradients(case: Case) -> tuple[tuple[Params, jax.Array | None], dict[str, jax.Array]]:
    """((gradients of the parameters, gradient of the text embeddings or None), outputs by name)."""
    system, key = case.system, jax.random.key(0)

    def outputs(
        inputs: tuple[Params, jax.Array | None], batch: Batch, item_values: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        params, text = inputs
        tables = Tables(item_values, text)
        terms = system.losses(params, batch, tables, key)
        values = {f"{name}_loss": jnp.sum(sums) / jnp.sum(counts) for name, (sums, counts) in terms.items()}
        total = sum(weight * values[f"{name}_loss"] for name, weight in system.loss_weights.items())
        values["loss"] = cast(jax.Array, total)
        encoded = system.encode(params, batch.users, batch.history, tables)
        values["prediction"] = system.score(params, encoded, batch.candidates, tables)
        if isinstance(system, RelationalSystem):
            scorer = {"params": params["scorer"]}
            scores = system.scorer.apply(scorer, batch.triples, method="triple_scores")
            values["kg_prediction"] = cast(jax.Array, scores)
        return values["loss"], values

    compute = jax.jit(jax.grad(outputs, has_aux=True))
    gradients, values = compute((case.params, case.tables.text), case.batch, case.tables.item_values)
    return gradients, values


def _paper_objective(golden: Golden) -> tuple[Values, Values]:
    """Eq. 14 alone: its parameters are our own, and entities and relations are inputs of it."""
    params = {name: value.astype(np.float32) for name, value in golden.param.items()}
    for name in ("entity_embeddings", "relation_embeddings"):
        if golden.get("param", name).ndim != 2:
            raise golden.refuse("expected a table of embeddings", f"param/{name}")
    entities, relations = params["entity_embeddings"], params["relation_embeddings"]
    layouts = {
        "history_items": ("BH", "items"),
        "negative_history_items": ("BH", "items"),
        "target_items": ("B", "items"),
        "lengths": ("B", None),
        "text_embeddings": ("IT", None),
    }
    inputs = read_inputs(golden, layouts, {"items": len(entities)})
    items, targets, text = inputs["history_items"], inputs["target_items"], inputs["text_embeddings"]
    valid = np.arange(items.shape[1]) < inputs["lengths"][:, None]
    if not np.array_equal(items > 0, valid):
        raise golden.refuse("a history is not as long as batch/lengths says, padded at its end", "batch/history_items")
    classifier = RelationClassifier(*relations.shape)
    shapes = jax.eval_shape(classifier.init, jax.random.key(0), items, targets[:, None], text)["params"]
    expected = {name: leaf.shape for name, leaf in shapes.items()}
    expected |= {"entity_embeddings": (len(text), relations.shape[1]), "relation_embeddings": relations.shape}
    for name in {**params, **expected}:
        if name not in expected:
            raise golden.refuse("nothing consumes this parameter", f"param/{name}")
        if golden.get("param", name).shape != expected[name]:
            raise golden.refuse(f"expected shape {expected[name]}, got {params[name].shape}", f"param/{name}")

    def outputs(params: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        own = {name: params[name] for name in shapes}
        entities, relations = params["entity_embeddings"], params["relation_embeddings"]
        log_q = log_posterior(cast(RelationLogits, classifier.apply({"params": own}, items, targets[:, None], text)))
        loss = functools.partial(lrd_paper_loss, entropy_weight=golden.get("hyper", "alpha"))
        negatives = entities[inputs["negative_history_items"]]
        over_examples = jax.vmap(loss, in_axes=(0, 0, 0, 0, None, 0))
        sums, counts = over_examples(log_q, entities[items], negatives, entities[targets], relations, from_host(valid))
        mean = jnp.sum(sums) / jnp.sum(counts)
        return mean, {
            "posterior": jnp.where(valid[..., None], jnp.exp(log_q), 0.0),  # the files have no posterior of padding
            "loss_mean_over_valid_pairs": mean,
            "mean_entropy": jnp.sum(jnp.where(valid, entropy(log_q), 0.0)) / jnp.sum(valid, dtype=jnp.float32),
        }

    gradients, values = jax.jit(jax.grad(outputs, has_aux=True))(params)
    return values, {name: value for name, value in gradients.items() if name in golden.grad}


def _ranking(golden: Golden) -> Values:
    """HR@K and NDCG@K of the K that the file has; column 0 of its scores is the target."""
    if "scores" not in golden.other:
        raise golden.refuse("the array is missing", "scores")
    scores = golden.other["scores"]
    if golden.param:
        raise golden.refuse("nothing consumes this parameter", f"param/{min(golden.param)}")
    if scores.ndim != 2 or not scores.size or np.isnan(scores).any():
        raise golden.refuse("expected numbers of shape (rows, candidates)", "scores")
    cutoffs = {int(match[1]) for name in golden.out if (match := re.fullmatch(r"(?:HR|NDCG)@([1-9]\d*)", name))}
    # We rank float32. These are float64, so each goes as its place among all of them: the same order, the same ties.
    places = np.unique(scores, return_inverse=True)[1].reshape(scores.shape).astype(np.float32)
    counts = jax.jit(jax.vmap(target_counts))(places[:, 0], places[:, 1:], np.ones_like(places[:, 1:], bool))
    ours = ranking_metrics(target_ranks(counts.greater, counts.equal), tuple(sorted(cutoffs)))
    return {name: ours[name] for name in golden.out if name in ours}
