"""What can be known of the deployment in containers without a container engine.

With a docker-compose program (`make compose-check` builds one) its own parser has the word; promtool checks Prometheus'
files where it is installed.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import prometheus_client
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from pydantic_settings import BaseSettings

from cleanup_scheduler.settings import CleanupSchedulerSettings
from deploy.compose.__main__ import SERVICES, write_secrets
from deploy.compose.parser import COMPOSE
from face_embedder.settings import FaceEmbedderSettings
from image_processor.settings import ImageProcessorSettings
from ingest_api.route_roles import ROUTES
from ingest_api.settings import IngestSettings
from ingest_api.sign_in import SignInSettings
from reconciler.settings import ReconcilerSettings
from s3_syncer.settings import S3SyncerSettings
from shared.db.schemas import SCHEMAS, role_of
from shared.messaging.topics import TOPICS
from shared.settings import PostgresSettings
from shared.telemetry import metrics

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "compose.yaml"
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "mediabus.json"
SECRETS_VARIABLE = "MEDIABUS_COMPOSE_SECRETS"
PREFIX = "MEDIABUS_"
PARSER_SECONDS = 60.0
SETTINGS: dict[str, tuple[type[BaseSettings], ...]] = {
    "ingest-api": (IngestSettings, SignInSettings),
    "image-processor": (ImageProcessorSettings,),
    "s3-syncer": (S3SyncerSettings,),
    "reconciler": (ReconcilerSettings,),
    "face-embedder": (FaceEmbedderSettings,),
    "cleanup-scheduler": (CleanupSchedulerSettings,),
}

# Docker, Compose and the registry's tools read none of the caller's variables in these tests.
CLEAN_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


# --- reading the files ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    write_secrets(folder, "first@example.com")
    return folder


@pytest.fixture(scope="module")
def compose(secrets_folder: Path) -> dict[str, Any]:
    read = _interpolated(yaml.safe_load(COMPOSE_FILE.read_text()), {SECRETS_VARIABLE: str(secrets_folder)})
    return cast(dict[str, Any], read)


def _interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """Variables are filled into strings after the file was parsed, as Compose does it: the result stays a string."""
    if isinstance(value, dict):
        return {key: _interpolated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolated(item, variables) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), value)
    return value


def _services(compose: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return cast(dict[str, dict[str, Any]], compose["services"])


def _is_job(service: Mapping[str, Any]) -> bool:
    return service.get("restart") == "no"


def _is_ours(service: Mapping[str, Any]) -> bool:
    return str(service["image"]).startswith("mediabus-")


def _environment(service: Mapping[str, Any]) -> dict[str, str]:
    values: dict[str, str] = {}
    for path in service.get("env_file", []):
        values |= dict(line.split("=", 1) for line in Path(path).read_text().splitlines())
    return values | dict(service.get("environment", {}))


NAMES = _services(yaml.safe_load(COMPOSE_FILE.read_text()))
ALL = pytest.mark.parametrize("name", NAMES)
OURS = pytest.mark.parametrize("name", [name for name, service in NAMES.items() if _is_ours(service)])


# --- the real parser --------------------------------------------------------------------------------------------------


def test_the_real_parser_reads_what_these_tests_read(compose: dict[str, Any], secrets_folder: Path) -> None:
    binary = COMPOSE.find()
    if binary is None:
        pytest.skip("no docker-compose program: `make compose-check` builds one where Go is installed")
    done = subprocess.run(
        [str(binary), "--file", str(COMPOSE_FILE), "--profile", "*", "config", "--format", "json"],
        env={**CLEAN_ENVIRONMENT, SECRETS_VARIABLE: str(secrets_folder)},
        capture_output=True,
        text=True,
        timeout=PARSER_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    read = json.loads(done.stdout)["services"]
    assert set(read) == set(_services(compose))
    for name, service in _services(compose).items():
        assert (read[name].get("environment") or {}) == _environment(service), name
        assert read[name].get("command") == service.get("command"), name
        assert set(read[name].get("depends_on") or {}) == set(service.get("depends_on", {})), name


# --- what is started --------------------------------------------------------------------------------------------------


def test_every_service_of_the_tree_is_deployed(compose: dict[str, Any]) -> None:
    built = {
        service["build"]["args"]["SERVICE"]
        for service in _services(compose).values()
        if service.get("build", {}).get("target") == "service"
    }
    assert built == {folder.name for folder in (ROOT / "services").iterdir()} == set(SERVICES)


@OURS
def test_commands_name_modules_that_can_be_run(compose: dict[str, Any], name: str) -> None:
    service = _services(compose)[name]
    module, *arguments = service["command"]
    path = _source(module)
    assert '__name__ == "__main__"' in path.read_text(), f"{module} does nothing when it is run"
    if module == "shared.db.migrations":
        assert arguments == [name.removeprefix("migrate-")]
        assert arguments[0] in SCHEMAS
        assert service["image"] == f"mediabus-{arguments[0]}", "migrations travel in the image of their service"
    in_service = not module.startswith("shared.")
    if in_service:
        folder = ROOT / "services" / str(service["image"]).removeprefix("mediabus-")
        assert path.is_relative_to(folder), f"{module} is not in the image {service['image']}"


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no module {module}"
    assert spec.origin is not None, f"{module} is no file"
    return Path(spec.origin)


@ALL
def test_images_have_a_version_or_are_built_here(compose: dict[str, Any], name: str) -> None:
    image = str(_services(compose)[name]["image"])
    built = {str(service["image"]) for service in _services(compose).values() if "build" in service}
    assert image in built or re.search(r":\S*\d", image), f"{image} may be another one tomorrow"


# --- settings ---------------------------------------------------------------------------------------------------------


@OURS
def test_settings_are_known_and_complete(compose: dict[str, Any], name: str) -> None:
    service = _services(compose)[name]
    environment = {key for key in _environment(service) if key.startswith(PREFIX)}
    module = _source(service["command"][0])
    image_of = str(service["image"]).removeprefix("mediabus-")
    known = set(_fields([module]))
    if image_of in SETTINGS:
        known |= {_variable(field) for settings in SETTINGS[image_of] for field in settings.model_fields}
    assert environment <= known, f"{sorted(environment - known)} are no settings"
    required = {variable for variable, is_required in _fields([module]).items() if is_required}
    assert required <= environment, f"{sorted(required - environment)} must be set"


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _fields(paths: list[Path]) -> dict[str, bool]:
    """The variables that the settings classes of some files read, and whether they must be set.

    Read from the source: a job's class may stand inside the function that uses it.
    """
    found: dict[str, bool] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            bases = {ast.unparse(base) for base in node.bases} if isinstance(node, ast.ClassDef) else set()
            if isinstance(node, ast.ClassDef) and bases & {"BaseSettings", "PostgresSettings"}:
                if "PostgresSettings" in bases:
                    inherited = PostgresSettings.model_fields.items()
                    found |= {_variable(name): field.is_required() for name, field in inherited}
                for line in node.body:
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                        found[_variable(line.target.id)] = line.value is None
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_services_start_with_their_environment(
    compose: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in os.environ:
        if variable.startswith(PREFIX):
            monkeypatch.delenv(variable)
    for variable, value in _environment(_services(compose)[name]).items():
        monkeypatch.setenv(variable, value)
    for settings in SETTINGS[name]:
        settings()
    image = _dockerfile_variables(name)
    for variable in image:
        monkeypatch.setenv(variable, image[variable])
    for settings in SETTINGS[name]:
        settings()


@pytest.mark.parametrize("name", SERVICES)
def test_services_meet_their_servers_under_the_names_here(compose: dict[str, Any], name: str) -> None:
    environment = _environment(_services(compose)[name])
    assert environment["MEDIABUS_POSTGRES_DSN"].startswith(f"postgresql://{role_of(SCHEMAS[name])}:")
    assert environment["MEDIABUS_POSTGRES_DSN"].endswith("@postgres:5432/mediabus")
    for variable in ("KAFKA_BOOTSTRAP", "S3_ENDPOINT", "OTLP_ENDPOINT"):
        host = environment[PREFIX + variable].split("//")[-1].split(":")[0]
        assert host in _services(compose)


def test_the_services_of_one_volume_agree_on_it(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        service = _services(compose)[name]
        assert service["volumes"][0] == f"media:{_environment(service)['MEDIABUS_MEDIA_ROOT']}"
        assert service["user"] == "10001:10001"


# --- order, health, limits --------------------------------------------------------------------------------------------


@ALL
def test_what_runs_on_has_a_healthcheck_and_what_ends_is_awaited(compose: dict[str, Any], name: str) -> None:
    services = _services(compose)
    awaited_by = [
        other for other, service in services.items() if service.get("depends_on", {}).get(name, {}).get("condition")
    ]
    conditions = {services[other]["depends_on"][name]["condition"] for other in awaited_by}
    if _is_job(services[name]):
        # `up --wait` takes the end of a container for a failure unless somebody waits for that end.
        assert conditions == {"service_completed_successfully"}
    else:
        assert services[name]["healthcheck"]["test"]
        assert services[name]["restart"] == "unless-stopped"
        assert conditions <= {"service_healthy"}


@ALL
def test_dependencies_exist(compose: dict[str, Any], name: str) -> None:
    assert set(_services(compose)[name].get("depends_on", {})) <= set(_services(compose))


@ALL
def test_containers_have_few_rights_and_bounded_resources(compose: dict[str, Any], name: str) -> None:
    service = _services(compose)[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert service["logging"]["options"]["max-size"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    if _is_ours(service):
        assert service["read_only"] is True
        assert service["user"] == "10001:10001"
        assert service["init"] is True
        assert "pids" in service["deploy"]["resources"]["limits"]


def test_only_this_machine_reaches_the_ports_unless_told_otherwise(compose: dict[str, Any]) -> None:
    for name, service in _services(compose).items():
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), (name, port)
            assert "outside" in service["networks"], f"{name}: the network inside publishes nothing"
    assert compose["networks"]["inside"] == {"internal": True}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_drain_before_it_is_killed(compose: dict[str, Any], name: str) -> None:
    service = _services(compose)[name]
    grace_seconds = int(str(service["stop_grace_period"]).removesuffix("s"))
    assert grace_seconds >= float(_environment(service)["MEDIABUS_DRAIN_SECONDS"]) + 20


@pytest.mark.parametrize(("name", "work"), [("image-processor", "RENDER"), ("face-embedder", "FACE")])
def test_the_memory_limit_holds_every_worker(compose: dict[str, Any], name: str, work: str) -> None:
    service = _services(compose)[name]
    environment, limits = _environment(service), service["deploy"]["resources"]["limits"]
    workers = int(environment[f"MEDIABUS_{work}_WORKERS"])
    limit_mebibytes = int(str(limits["memory"]).removesuffix("G")) * 1024
    assert workers * int(environment[f"MEDIABUS_{work}_MEMORY_MEBIBYTES"]) + 512 <= limit_mebibytes
    assert workers <= float(limits["cpus"])


# --- paths and images -------------------------------------------------------------------------------------------------


@ALL
def test_mounted_paths_exist_and_are_read_only(compose: dict[str, Any], name: str) -> None:
    for volume in _services(compose)[name].get("volumes", []):
        source, _, rest = str(volume).partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert rest.endswith(":ro"), volume
        else:
            assert source in compose["volumes"], source


def test_secret_files_exist(compose: dict[str, Any]) -> None:
    for secret in compose["secrets"].values():
        assert Path(secret["file"]).exists()
    for service in _services(compose).values():
        assert set(service.get("secrets", [])) <= set(compose["secrets"])


def test_builds_name_a_file_and_a_stage_that_exist(compose: dict[str, Any]) -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "deploy/images/Dockerfile").read_text(), re.MULTILINE)
    for service in _services(compose).values():
        if build := service.get("build"):
            assert (ROOT / build["dockerfile"]).exists()
            assert build["target"] in stages


def _dockerfile_lines(service: str) -> Iterator[list[str]]:
    text = (ROOT / "deploy/images/Dockerfile").read_text().replace("\\\n", " ").replace("${SERVICE}", service)
    for line in text.splitlines():
        if words := line.split():
            yield words


def _dockerfile_variables(service: str) -> dict[str, str]:
    pairs = [word for words in _dockerfile_lines(service) if words[0] == "ENV" for word in words[1:]]
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs) if key.startswith(PREFIX)}


@pytest.mark.parametrize("service", SERVICES)
def test_the_image_copies_what_exists_and_is_not_ignored(service: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for words in _dockerfile_lines(service):
        if words[0] == "COPY" and not words[1].startswith("--from"):
            for source in words[1:-1]:
                assert (ROOT / source).exists(), source
                assert any(Path(source).is_relative_to(folder) for folder in admitted), source
    settings = {_variable(field) for cls in SETTINGS[service] for field in cls.model_fields}
    assert set(_dockerfile_variables(service)) <= settings


def test_the_image_leaves_root_and_says_how_it_is() -> None:
    lines = list(_dockerfile_lines("ingest-api"))
    assert ["USER", "10001:10001"] in lines
    assert any(words[0] == "HEALTHCHECK" for words in lines)
    bases = {words[1] for words in lines if words[0] == "FROM" and words[1].startswith("$")}
    assert bases == {"${PYTHON_IMAGE}"}
    assert any(
        re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+", words[1]) for words in lines if words[0] == "ARG"
    )


# --- locks ------------------------------------------------------------------------------------------------------------


def _pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE))


LOCKS = [*(f"services/{service}/requirements.lock" for service in SERVICES), "deploy/images/tools.lock"]


@pytest.mark.parametrize("lock", LOCKS)
def test_images_get_the_versions_that_are_tested(lock: str) -> None:
    tested = _pins(ROOT / "requirements.lock")
    pins = _pins(ROOT / lock)
    assert pins
    assert {name: version for name, version in pins.items() if tested.get(name) != version} == {}
    text = (ROOT / lock).read_text()
    assert "://" not in text, "a lock names no host"
    assert text.count("--hash=sha256:") >= len(pins)


@pytest.mark.parametrize("service", SERVICES)
def test_images_have_every_package_that_is_imported(service: str) -> None:
    packages = importlib.metadata.packages_distributions()
    pins = set(_pins(ROOT / "services" / service / "requirements.lock"))
    ours = {"shared", *(folder.name for folder in (ROOT / "services" / service).iterdir())}
    folders = [ROOT / "services" / service, *(f for f in (ROOT / "shared").iterdir() if f.name != "testing")]
    files = [path for folder in folders for path in ([folder] if folder.suffix == ".py" else folder.rglob("*.py"))]
    missing = {
        (module, path.name)
        for path in files
        for module in _imported_roots(path)
        if module not in sys.stdlib_module_names and module not in ours
        if not pins & {name.lower().replace("_", "-") for name in packages.get(module, [module])}
    }
    assert missing == set()


def _imported_roots(path: Path) -> Iterator[str]:
    yield from _roots_below(ast.parse(path.read_text()))


def _roots_below(node: ast.AST) -> Iterator[str]:
    """What is imported when the program runs: blocks for the type checker alone are passed over."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.split(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from _roots_below(child)


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_stands_in_the_files() -> None:
    text = COMPOSE_FILE.read_text()
    found = re.findall(r"^\s*([A-Z_]*(?:PASSWORD|SECRET|TOKEN|_KEY|DSN)[A-Z_]*):\s*(\S+)", text, re.MULTILINE)
    assert [(name, value) for name, value in found if not value.startswith("/run/secrets/")] == []
    assert not re.search(r"://[^/\s:]+:[^@\s$]+@", text), "an address with a password"


def test_secrets_are_made_once_and_only_their_owner_enters(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    write_secrets(folder, "first@example.com")
    first = {path.name: path.read_text() for path in folder.iterdir()}
    write_secrets(folder, "second@example.com")
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes.pop("role-passwords.json") == 0o444
    assert set(modes.values()) == {0o600}
    values = [value for value in json.loads(first["secrets.json"]).values() if "@" not in value]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 20 for value in values)


def test_a_new_services_password_is_added(tmp_path: Path) -> None:
    write_secrets(tmp_path, "first@example.com")
    known = json.loads((tmp_path / "secrets.json").read_text())
    lost = known.pop("password_imaging")
    (tmp_path / "secrets.json").write_text(json.dumps(known))
    write_secrets(tmp_path, "first@example.com")
    made = json.loads((tmp_path / "secrets.json").read_text())
    assert made.pop("password_imaging") != lost
    assert made == known
    assert set(json.loads((tmp_path / "role-passwords.json").read_text())) == set(SCHEMAS.values())


def test_secrets_stay_out_of_git_and_out_of_images() -> None:
    assert ".mediabus-compose/" in (ROOT / ".gitignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


# --- the bucket -------------------------------------------------------------------------------------------------------


def test_bucket_notifications_go_to_a_topic_that_is_declared(compose: dict[str, Any]) -> None:
    minio = _environment(_services(compose)["minio"])
    declared = {topic.name for topic in TOPICS}
    assert {value for key, value in minio.items() if key.startswith("MINIO_NOTIFY_KAFKA_TOPIC_")} <= declared
    with_queue = {key.rsplit("_", 1)[1] for key in minio if "_QUEUE_DIR_" in key}
    assert with_queue == {"DURABLE"}
    enabled = {key.split("_")[-1]: key.split("_")[2].lower() for key, on in minio.items() if "_ENABLE_" in key and on}
    script = (ROOT / "deploy/compose/bucket.sh").read_text()
    assert dict(re.findall(r"([A-Z]+):(kafka|webhook)", script)) == enabled


def test_the_store_and_the_api_agree_on_the_webhook(compose: dict[str, Any]) -> None:
    minio, api = (_environment(_services(compose)[name]) for name in ("minio", "ingest-api"))
    assert minio["MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_FAST"] == api["MEDIABUS_WEBHOOK_TOKEN"]
    address = urlsplit(minio["MINIO_NOTIFY_WEBHOOK_ENDPOINT_FAST"])
    assert (address.hostname, str(address.port)) == ("ingest-api", api["MEDIABUS_HTTP_PORT"])
    assert ("POST", address.path) in ROUTES
    shared = set(_services(compose)["minio"]["networks"]) & set(_services(compose)["ingest-api"]["networks"])
    assert shared, "no network lets the store reach the API"


def test_the_bucket_job_gets_every_variable_it_reads(compose: dict[str, Any]) -> None:
    script = (ROOT / "deploy/compose/bucket.sh").read_text()
    read = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", script))
    assert read == set(_environment(_services(compose)["bucket"]))
    subprocess.run(["sh", "-n", str(ROOT / "deploy/compose/bucket.sh")], check=True, timeout=10)


# --- Prometheus and Grafana -------------------------------------------------------------------------------------------


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], json.loads(DASHBOARD.read_text())["panels"])


def test_prometheus_scrapes_every_service(compose: dict[str, Any]) -> None:
    jobs = {
        job["job_name"]: job for job in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    }
    for name in SERVICES:
        (found,) = jobs[name]["dns_sd_configs"]
        assert found["names"] == [name]
        assert str(found["port"]) == _environment(_services(compose)[name])["MEDIABUS_HTTP_PORT"]
    hosts = {
        target.split(":")[0]
        for job in jobs.values()
        for static in job.get("static_configs", [])
        for target in static["targets"]
    }
    assert hosts - {"localhost"} <= set(_services(compose))


def _declared_series() -> dict[str, set[str]]:
    """Every series name that the services expose, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            labels = set(metric._labelnames)
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(str(metric._type), [""])
            found |= {f"{metric._name}{suffix}": labels for suffix in suffixes}
    return found


EXPRESSIONS = [
    *(pytest.param(rule["expr"], id=rule["alert"]) for rule in _rules()),
    *(pytest.param(target["expr"], id=panel["title"]) for panel in _panels() for target in panel["targets"]),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_use_metrics_and_labels_that_exist(expression: str) -> None:
    declared = _declared_series()
    names = set(re.findall(r"\b(?:mediabus|media|bucket)_[a-z_]+", expression))
    assert names <= set(declared)
    assert names or "up" in expression
    labels = {"job", "instance", "le"}.union(*(declared[name] for name in names))
    by = [label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")]
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    assert {*by, *matched} <= labels


def test_alerts_say_what_to_do() -> None:
    for rule in _rules():
        assert {"summary", "action"} <= set(rule["annotations"]), rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
    for panel in _panels():
        assert panel["description"], panel["title"]


def test_grafana_finds_its_data_and_its_dashboard(compose: dict[str, Any]) -> None:
    provisioning = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in _panels()} == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards/mediabus.yml").read_text())["providers"]
    mounted = {str(volume).split(":")[1] for volume in _services(compose)["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounted
    home = _environment(_services(compose)["grafana"])["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"


def test_promtool_accepts_configuration_alerts_and_panels(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    panels = tmp_path / "panels.yml"
    rules = [
        {"record": f"panel:{panel['id']}:{target['refId']}", "expr": target["expr"]}
        for panel in _panels()
        for target in panel["targets"]
    ]
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    for arguments in (
        ["check", "config", str(PROMETHEUS / "prometheus.yml")],
        ["check", "rules", str(panels)],
        ["test", "rules", str(PROMETHEUS / "alerts_test.yml")],
    ):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_registry_serves_the_names_that_are_compared() -> None:
    exposed = prometheus_client.generate_latest().decode()
    assert "# TYPE media_queue_size gauge" in exposed
    assert "# TYPE media_jobs_added_total counter" in exposed
