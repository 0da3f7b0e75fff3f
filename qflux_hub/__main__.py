"""``python -m qflux_hub`` is ``qflux``."""

from qflux_hub.cli import main

main()
