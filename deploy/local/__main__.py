"""`python -m deploy.local up|start|stop|status|logs|psql|wipe`."""

from __future__ import annotations

import sys

from deploy.local.cli import main
from deploy.local.topology import configured_topology

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], configured_topology(), module="deploy.local"))
