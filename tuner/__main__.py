"""`python -m tuner` is `tuner`. Imports nothing at first, so that Ctrl-C during the imports ends quietly too."""


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from tuner.cli.main import main as run
    except KeyboardInterrupt:
        import sys

        print("tuner: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
