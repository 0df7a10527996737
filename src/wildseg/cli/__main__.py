"""`python -m wildseg.cli`, as `wildseg` does it."""

from wildseg.cli.main import main

main()
