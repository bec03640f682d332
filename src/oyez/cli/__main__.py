"""The `oyez` command, as its script and as `python -m oyez.cli`, where the script is not on the path."""

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit."""
    # What is imported stays: to look for garbage in it would be a fifth of the time that most commands take.
    gc.disable()
    from oyez.cli import main as command

    app = command.load(sys.argv[1:])
    gc.freeze()
    gc.enable()
    command.main(app=app)


if __name__ == "__main__":
    main()
