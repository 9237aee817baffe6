"""Train a recommender, test its best epoch: `python -m lrd_jax.train --config configs/office/kda_lrd.toml`."""

from __future__ import annotations

from lrd_jax.cli import parse_config, run_command


def main() -> None:
    """Parse the command line, then train; jax is imported only after that, so that --help answers at once."""
    config, flags = parse_config()
    from lrd_jax.loop import train_and_evaluate

    train_and_evaluate(config, resume=flags.resume)


if __name__ == "__main__":
    run_command(main)
