"""``python -m lrnet_edu`` is ``lrnet-edu``."""

from lrnet_edu.cli import main

main()
