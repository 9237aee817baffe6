"""Train a recommender and test its best epoch: `python -m lrd_jax.train --config configs/office/kda_lrd.toml`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

from lrd_jax.command_line.parse import parse_config, run_command, seed_configs


def main() -> None:
    """Parses the command line, then trains. jax is imported only after parsing, so that --help is fast."""
    config, flags = parse_config()
    configs = seed_configs(config, flags.seeds)
    from lrd_jax.command_line.jax_setup import set_up_jax
    from lrd_jax.training.loop import train_seeds

    set_up_jax(config.run.cpu_devices)
    train_seeds(configs, resume=flags.resume)


if __name__ == "__main__":
    run_command(main)
