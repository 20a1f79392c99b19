"""The embedded stack with dummy services in place of the real ones: `python -m tests.integration.dummy_stack COMMAND`.

DUMMY_SERVERS=all runs the real servers and their provisioning below them, none runs the services alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.local.cli import main
from deploy.local.stack_folder import StackFolder
from deploy.local.topology import KAFKA, OBJECT_STORE, POSTGRES, STEPS, Service, Site, Topology, python

DUMMY = str(Path(__file__).with_name("dummy_service.py"))
STOP_JOURNAL = "stops.txt"


def _service(name: str, stage: int, niceness: int) -> Service:
    def environment(site: Site) -> dict[str, str]:
        return {"MEDIABUS_HTTP_PORT": str(site.ports[name])}

    journal = str(StackFolder.configured().root / STOP_JOURNAL)
    return Service(name, python(DUMMY, name, journal), environment, stage=stage, niceness=niceness)


def topology() -> Topology:
    everything = os.environ.get("DUMMY_SERVERS") == "all"
    return Topology(
        servers=(POSTGRES, KAFKA, OBJECT_STORE) if everything else (),
        steps=tuple(step for step in STEPS if step.name in {"provision", "create-topics"}) if everything else (),
        services=(_service("worker", stage=1, niceness=7), _service("front", stage=2, niceness=0)),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], topology(), module="tests.integration.dummy_stack"))
