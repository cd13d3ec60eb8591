"""The chart of deploy/helm and the files of deploy/mesh, rendered and held against the schemas of whoever reads them.

Arguments: helm, the folder of the services' programs, Istio's resource definitions, the folder of Prometheus' ones. Each
case is one line of JSON on stdout. Nothing is run in a cluster.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
import warnings

import jsonschema
import kubernetes_validate
import promql_parser
import yaml

warnings.filterwarnings("ignore")
HELM, PROGRAMS, ISTIO, PROMETHEUS = sys.argv[1:]
CHART = "deploy/helm/cube"
VERSIONS = ["1.29", "1.34"]
DIGEST = "@sha256:" + "ab" * 32
SERVICES = ["attestation-svc", "inference-gateway", "backend-adapter"]


def text(path):
    with open(path) as file:
        return file.read()


def case(name, check, *arguments):
    try:
        why = check(*arguments) or ""
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    print(json.dumps({"id": f"real:helm/{name}", "result": "fail" if why else "pass", "why": str(why)[:2000]}), flush=True)


LEAST = {
    "images": {name: f"registry.example.org/cube/{name}{DIGEST}" for name in ("attestation", "gateway", "adapter")},
    "measured": text("deploy/config/measured.toml"),
    "policy": text("deploy/config/policy.toml"),
    "gateway": {"access": "anonymous"},
    "modelServer": {"image": f"registry.example.org/ollama{DIGEST}"},
}
FULL = {
    **LEAST,
    "replicas": 2,
    "images": {**LEAST["images"], "pullSecrets": ["registry"]},
    "attestation": {"config": "limits.waiting_reports = 512\n[log]\nlevel = \"debug\"\n"},
    "gateway": {"access": "api-keys", "keysSecret": "keys", "callersTrustDomain": "hospital.example", "config": "limits.concurrent = 10\n"},
    "adapter": {"config": "[log]\nlevel = \"warn\"\n"},
    "modelServer": {
        **LEAST["modelServer"],
        "command": ["/usr/bin/ollama"],
        "args": ["serve"],
        "env": [{"name": "OLLAMA_HOST", "value": "127.0.0.1:11434"}],
        "modelsClaim": "models",
        "resources": {"limits": {"memory": "16Gi"}},
    },
    "device": {"plugin": "devices.example.org/sev-guest", "path": "/dev/sev-guest"},
    "collateralSecret": "collateral",
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {}}], "monitoringFrom": [{"namespaceSelector": {}}]},
    "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
    "nodeSelector": {"cube/cvm": "true"},
    "tolerations": [{"key": "cvm", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "podAnnotations": {"c": "d"},
}


def helm(values, *command):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return subprocess.run([HELM, *command, "--values", file.name], capture_output=True, text=True)


def rendered(values):
    run = helm(values, "template", "prod", CHART, "--namespace", "cube", "--kube-version", "1.34.0")
    if run.returncode:
        raise RuntimeError(run.stderr)
    return [document for document in yaml.safe_load_all(run.stdout) if document]


def definitions(paths):
    """Schemas by group, version and kind; what they do not name is refused."""
    found = {}
    for path in paths:
        for crd in yaml.safe_load_all(text(path)):
            if not crd or crd.get("kind") != "CustomResourceDefinition":
                continue
            for version in crd["spec"]["versions"]:
                schema = version.get("schema", {}).get("openAPIV3Schema")
                if schema:
                    key = (crd["spec"]["group"], version["name"], crd["spec"]["names"]["kind"])
                    found[key] = closed(copy.deepcopy(schema))
    return found


def closed(schema):
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for key, value in list(schema.items()):
            if key in ("oneOf", "anyOf", "allOf", "not"):
                continue
            if key == "properties":
                for inner in value.values():
                    closed(inner)
            else:
                closed(value)
    return schema


def judged(document, known):
    group, _, version = document["apiVersion"].rpartition("/")
    schema = known.get((group, version, document["kind"]))
    if schema is None:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
        return
    schema = copy.deepcopy(schema)
    schema["properties"].update({"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}})
    jsonschema.Draft202012Validator(schema).validate(document)


def schemas(documents, known):
    for document in documents:
        try:
            judged(document, known)
        except Exception as error:
            return f"{document['kind']}: {str(error)[:600]}"


def of(documents, kind):
    return next(document for document in documents if document["kind"] == kind)


def configurations(documents):
    """The services themselves say whether they would start with them."""
    data = of(documents, "ConfigMap")["data"]
    if data["measured.toml"] != LEAST["measured"] or data["policy.toml"] != LEAST["policy"]:
        return "measured.toml or policy.toml is not byte for byte what was given"
    with tempfile.TemporaryDirectory() as folder:
        keys = os.path.join(folder, "keys.toml")
        with open(keys, "w") as file:
            file.write("version = 1\n")
        ca = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout", "/dev/null"],
            capture_output=True, text=True, check=True,
        ).stdout
        with open(os.path.join(folder, "callers-ca.pem"), "w") as file:
            file.write(ca)
        for name, content in data.items():
            with open(os.path.join(folder, name), "w") as file:
                file.write(content.replace("/etc/cube-keys", folder))
        for service in SERVICES:
            command = [os.path.join(PROGRAMS, service), "--check-config", "--config", os.path.join(folder, service + ".toml")]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                return f"{service}: {run.stderr}"


def confined(documents):
    pod = of(documents, "Deployment")["spec"]["template"]["spec"]
    containers = {container["name"]: container for container in pod["containers"]}
    users = [container["securityContext"]["runAsUser"] for container in containers.values()]
    if len(set(users)) != 4 or 0 in users:
        return f"users {users}"
    for name, container in containers.items():
        context = container["securityContext"]
        if context["capabilities"] != {"drop": ["ALL"]} or not context["readOnlyRootFilesystem"] or context["allowPrivilegeEscalation"]:
            return f"{name}: {context}"
        if "@sha256:" not in container["image"]:
            return f"{name}: {container['image']}"
    run = next(volume for volume in pod["volumes"] if volume["name"] == "run")
    if run["emptyDir"]["medium"] != "Memory" or pod.get("hostNetwork") or pod.get("hostPID") or pod["automountServiceAccountToken"]:
        return str(pod)
    with_device = [
        name for name, container in containers.items()
        if any(mount["name"] == "device" for mount in container["volumeMounts"])
        or any("sev-guest" in limit for limit in container.get("resources", {}).get("limits", {}))
    ]
    with_run = {name for name, container in containers.items() if any(mount["name"] == "run" for mount in container["volumeMounts"])}
    if with_device != ["attestation-svc"] or with_run != set(SERVICES):
        return f"device: {with_device}, run: {with_run}"


def probed(documents):
    """Each probe asks a port that the same service's configuration opens for it."""
    data = of(documents, "ConfigMap")["data"]
    for container in of(documents, "Deployment")["spec"]["template"]["spec"]["containers"]:
        if container["name"] not in SERVICES:
            continue
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            ask = container[probe]["httpGet"]
            if ask["path"] != path or f'health.listen = "0.0.0.0:{ask["port"]}"' not in data[container["name"] + ".toml"]:
                return f"{container['name']}: {probe} {ask}"


def refused(change, word):
    values = copy.deepcopy(LEAST)
    change(values)
    run = helm(values, "template", "prod", CHART, "--kube-version", "1.34.0")
    if run.returncode == 0:
        return "was rendered"
    return "" if word in run.stderr else run.stderr


PROMETHEUS_SCHEMAS = definitions(os.path.join(PROMETHEUS, name) for name in os.listdir(PROMETHEUS) if "servicemonitors" in name)
ISTIO_SCHEMAS = definitions([ISTIO])
for name, values in (("least", LEAST), ("full", FULL)):
    case(f"{name}/lint", lambda: (lambda run: run.stderr + run.stdout if run.returncode else "")(helm(values, "lint", "--strict", CHART)))
    documents = rendered(values)
    case(f"{name}/schemas", schemas, documents, PROMETHEUS_SCHEMAS)
    case(f"{name}/the-services-take-their-files", configurations, documents)
    case(f"{name}/confined", confined, documents)
    case(f"{name}/probes-ask-what-is-open", probed, documents)


def page():
    """As docs/deploy/kubernetes.md has it, up to the cluster."""
    values = {key: value for key, value in LEAST.items() if key not in ("measured", "policy")}
    files = [f"--set-file={name}=deploy/config/{name}.toml" for name in ("measured", "policy")]
    run = helm(values, "template", "prod", CHART, "--namespace", "cube", "--kube-version", "1.34.0", *files)
    documents = [document for document in yaml.safe_load_all(run.stdout) if document]
    return run.stderr or configurations(documents)


case("files-of-the-command-line-come-byte-for-byte", page)
for name, change, word in (
    ("a-tag-is-refused", lambda v: v["images"].update(gateway="cube/gateway:latest"), "gateway"),
    ("an-unknown-value-is-refused", lambda v: v.update(privileged=True), "privileged"),
    ("api-keys-need-a-secret", lambda v: v.update(gateway={"access": "api-keys"}), "keysSecret"),
    ("keys-need-api-keys", lambda v: v["gateway"].update(keysSecret="keys"), "keysSecret"),
    ("root-is-refused", lambda v: v.update(uids={"attestation": 0, "gateway": 1, "adapter": 2, "modelServer": 3}), "attestation"),
    ("measured-has-to-be-there", lambda v: v.update(measured=""), "measured"),
):
    case(name, refused, change, word)
for path in ("istio/passthrough.yaml", "istio/inside.yaml", "linkerd/opaque.yaml"):
    case(f"mesh/{path}", schemas, list(yaml.safe_load_all(text(f"deploy/mesh/{path}"))), ISTIO_SCHEMAS)


def sensitive(document, known):
    """A member that nobody knows has to be found, or the schemas judge nothing."""
    document = copy.deepcopy(document)
    document["spec"]["unheard"] = 1
    return "" if schemas([document], known) else "an unknown member passed"


case("a-mistake-is-found/kubernetes", sensitive, of(rendered(LEAST), "Deployment"), {})
case("a-mistake-is-found/prometheus", sensitive, of(rendered(FULL), "ServiceMonitor"), PROMETHEUS_SCHEMAS)
for document in yaml.safe_load_all(text("deploy/mesh/istio/passthrough.yaml")):
    case(f"a-mistake-is-found/istio/{document['kind']}", sensitive, document, ISTIO_SCHEMAS)


def alerts():
    """As Prometheus reads a file of rules: every member, and every expression."""
    known = {"alert", "expr", "for", "labels", "annotations"}
    for group in yaml.safe_load(text("deploy/observability/alerts.yaml"))["groups"]:
        for rule in group["rules"]:
            if set(rule) - known or not {"summary", "fix"} <= set(rule["annotations"]):
                return str(rule)
            promql_parser.parse(rule["expr"])


def dashboard():
    panels = json.loads(text("deploy/observability/dashboard.json"))["panels"]
    expressions = [target["expr"].replace("$instance", ".*") for panel in panels for target in panel["targets"]]
    for expression in expressions:
        promql_parser.parse(expression)
    if len({panel["id"] for panel in panels}) != len(panels) or not expressions:
        return "panels share their numbers"


case("observability/alerts", alerts)
case("observability/dashboard", dashboard)
