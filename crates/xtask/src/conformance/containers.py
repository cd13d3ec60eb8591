"""The images of deploy/containers under a real Docker, with every capability dropped.

Arguments: the folder of static programs, `cube`, the folder of a simulated deployment, a scratch folder. Needs root. Each
case is one line of JSON on stdout.
"""

import encodings.idna  # by the time it is wanted, its file is another user's
import http.server
import json
import os
import shutil
import subprocess
import sys
import time

PROGRAMS, CUBE, DEPLOYMENT, SCRATCH = sys.argv[1:]
SERVICES = {"attestation-svc": 6400, "inference-gateway": 6401, "backend-adapter": 6402}
MODEL_SERVER = 6403
CONFINED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network"]
SOCKET = f"unix://{SCRATCH}/docker.sock"
PATIENCE = 60
LAPSE = 15


def case(name, why):
    print(json.dumps({"id": f"real:containers/{name}", "result": "fail" if why else "pass", "why": (why or "")[:2000]}), flush=True)


def docker(*arguments, **more):
    return subprocess.run(["docker", "-H", SOCKET, *arguments], capture_output=True, text=True, env={**os.environ, "DOCKER_BUILDKIT": "0"}, **more)


def must(run):
    if run.returncode:
        raise RuntimeError(f"{run.args}: {run.stderr}{run.stdout}")
    return run.stdout.strip()


def until(check, patience=PATIENCE):
    end, why = time.monotonic() + patience, "never tried"
    while time.monotonic() < end:
        why = check()
        if not why:
            return ""
        time.sleep(0.2)
    return why


def daemon():
    log = open(f"{SCRATCH}/dockerd.log", "w")
    process = subprocess.Popen(
        ["dockerd", "--data-root", f"{SCRATCH}/data", "--exec-root", f"{SCRATCH}/exec", "--pidfile", f"{SCRATCH}/pid", "-H", SOCKET,
         "--storage-driver", "vfs", "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none"],
        stdout=log, stderr=log,
    )
    why = until(lambda: docker("version").stderr)
    if why:
        raise RuntimeError(f"dockerd does not start: {why}")
    return process


def built(service, program):
    """The image of a program, from the committed file."""
    context = f"{SCRATCH}/context"
    shutil.rmtree(context, ignore_errors=True)
    os.makedirs(context)
    shutil.copy(os.path.join(PROGRAMS, program), os.path.join(context, service))
    arguments = ["--build-arg", f"SERVICE={service}", "--build-arg", f"UID={SERVICES[service]}", "--tag", program]
    must(docker("build", "--quiet", *arguments, "--file", "deploy/containers/Dockerfile", context))


def shipped(service):
    about = json.loads(must(docker("image", "inspect", service)))[0]["Config"]
    if about["User"] != f"{SERVICES[service]}:{SERVICES[service]}":
        return f"runs as {about['User']}"
    run = docker("run", "--rm", *CONFINED, "none", service, "--version")
    return "" if run.returncode == 0 and run.stdout.startswith(service) else f"{run.returncode}: {run.stdout}{run.stderr}"


def without_tee():
    """One clear line, the exit code of a machine without a device."""
    run = docker(
        "run", "--rm", *CONFINED, "none", "--tmpfs", "/run/cube:uid=6400,mode=0711", "--tmpfs", "/var:uid=6400",
        "--volume", f"{os.path.abspath('deploy/config')}:/etc/cube:ro", "attestation-svc", "--config", "/etc/cube/attestation-svc.toml",
    )
    lines = [line for line in run.stderr.splitlines() if "ERROR" in line]
    return "" if run.returncode == 5 and len(lines) == 1 and "sev-guest" in lines[0] else f"{run.returncode}: {run.stderr}"


def start(service, network):
    more = ["--machine", "/etc/cube/machine.json", "--guest", "/etc/cube/guest.json"] if service == "attestation-svc" else []
    must(docker(
        "run", "--detach", "--name", service, *CONFINED, network, "--volume", f"{DEPLOYMENT}:/etc/cube:ro", "--volume", "run:/run/cube",
        f"sim-{service}", "--config", f"/etc/cube/{service}.toml", "--simulated-root", "/etc/cube/simulated-root.pem", *more,
    ))


def cube(*arguments):
    pid = must(docker("inspect", "--format", "{{.State.Pid}}", "inference-gateway"))
    command = ["nsenter", "--target", pid, "--net", CUBE, *arguments[:1], "https://127.0.0.1:8443", "--policy", f"{DEPLOYMENT}/client-policy.toml",
               "--allow-simulated", f"{DEPLOYMENT}/simulated-root.pem", *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True)


def verified():
    run = cube("verify", "--summary")
    return "" if run.returncode == 0 else f"{run.returncode}: {run.stdout}{run.stderr}"


def answered():
    run = cube("chat", "hello")
    return "" if run.returncode == 0 and "a real answer" in run.stdout else f"{run.returncode}: {run.stdout}{run.stderr}"


def confined(service):
    """As the kernel has it, not as Docker was asked."""
    pid = must(docker("inspect", "--format", "{{.State.Pid}}", service))
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
    users, capabilities = set(status["Uid"].split()), {status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
    wanted = users == {str(SERVICES[service])} and capabilities == {"0000000000000000"} and status["NoNewPrivs"].strip() == "1"
    return "" if wanted else str(status)


class ModelServer(http.server.BaseHTTPRequestHandler):
    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer("application/json", json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode())

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        words = {**chunk, "choices": [{"index": 0, "delta": {"content": "a real answer"}, "finish_reason": None}]}
        end = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        lines = [f"data: {json.dumps(part)}\n\n" for part in (words, end)] + ["data: [DONE]\n\n"]
        self.answer("text/event-stream", "".join(lines).encode())

    def log_message(self, *_):
        pass


def model_server(pid):
    """In the pod's network, as its own user."""
    child = os.fork()
    if child == 0:
        with open(f"/proc/{pid}/ns/net") as file:
            setns(file.fileno())
        os.setgid(MODEL_SERVER)
        os.setuid(MODEL_SERVER)
        http.server.ThreadingHTTPServer(("127.0.0.1", 8000), ModelServer).serve_forever()
    return child


def setns(descriptor):
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def lapsed():
    must(docker("kill", "attestation-svc"))
    begun = time.monotonic()
    why = until(lambda: "" if answered() else "still answers", LAPSE)
    return f"after {time.monotonic() - begun:.1f} s: {why}" if why else ""


def main():
    process = daemon()
    server = None
    try:
        for service in SERVICES:
            built(service, service)
            case(f"{service}/static-and-not-root", shipped(service))
            built(service, f"sim-{service}")
        case("attestation-svc/without-a-device-one-line-and-exit-5", without_tee())
        options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=uid=6400,mode=0755"]
        must(docker("volume", "create", *options, "run"))
        start("attestation-svc", "none")
        server = model_server(must(docker("inspect", "--format", "{{.State.Pid}}", "attestation-svc")))
        for service in list(SERVICES)[1:]:
            start(service, "container:attestation-svc")
        case("verified-from-outside", until(verified))
        case("a-prompt-is-answered", until(answered))
        for service in SERVICES:
            case(f"{service}/no-capability-and-its-own-user", confined(service))
        gateway = must(docker("inspect", "--format", "{{.State.Pid}}", "inference-gateway"))
        # Without attestation-svc's process the others keep its network alive.
        case("without-attestation-svc-nothing-is-answered-within-15-s", lapsed())
        same = must(docker("inspect", "--format", "{{.State.Pid}}", "inference-gateway")) == gateway
        case("the-gateway-stays-up", "" if same else "it was started again")
        case("kill-9-of-the-gateway-and-serving-again", restarted())
    finally:
        if server:
            os.kill(server, 9)
        docker("rm", "--force", *SERVICES)
        process.terminate()
        process.wait()


def restarted():
    """All of them, as a pod is: whoever joins the network of another goes with it."""
    for service in SERVICES:
        must(docker("rm", "--force", service))
    start("attestation-svc", "none")
    server = model_server(must(docker("inspect", "--format", "{{.State.Pid}}", "attestation-svc")))
    for service in list(SERVICES)[1:]:
        start(service, "container:attestation-svc")
    try:
        why = until(answered)
        must(docker("kill", "--signal", "KILL", "inference-gateway"))
        must(docker("start", "inference-gateway"))
        begun = time.monotonic()
        why = why or until(answered)
        print(f"serving again {time.monotonic() - begun:.1f} s after the gateway was started", file=sys.stderr)
        return why
    finally:
        os.kill(server, 9)


main()
