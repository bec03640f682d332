"""`python -m oyez.cli`: the `oyez` command where its script is not on the path."""

from oyez.cli.main import main

main()
