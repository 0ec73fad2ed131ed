"""The command line: one command for each stage, in the order they run."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Which value-added services to offer to whom, how many, and when none."""


if __name__ == "__main__":
    main()
