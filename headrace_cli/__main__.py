"""``python -m headrace_cli`` is ``headrace``."""

from headrace_cli.main import run

if __name__ == "__main__":
    run()
