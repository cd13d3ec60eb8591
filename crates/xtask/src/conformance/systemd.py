"""The units of deploy/systemd, judged by systemd's own tools. Each case is one line of JSON on stdout.

They are not started: that needs a machine whose first process is systemd. What a unit may call is held against what the
services are seen to call instead, by strace.

Arguments: the units' folder, then the programs that were traced and their traces as PROGRAM=FILE.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

UNITS = sys.argv[1]
TRACES = dict(argument.split("=", 1) for argument in sys.argv[2:])
TARGET = 1.5
# What is tried first, and does without: sockets are given away, or their users listed in access lists.
REFUSED = {"attestation-svc": {"chown"}}
INSTEAD = {"attestation-svc": {"setxattr"}}
SERVICES = ["attestation-svc", "inference-gateway", "backend-adapter"]


def case(name, why):
    print(json.dumps({"id": f"real:systemd/{name}", "result": "fail" if why else "pass", "why": why}), flush=True)


def units():
    return sorted(name for name in os.listdir(UNITS) if name.endswith(".service"))


def keys(unit):
    with open(os.path.join(UNITS, unit)) as file:
        lines = [line.strip() for line in file]
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return [(key, value) for key, value in pairs]


def verify():
    """Without a word: it only warns of a key that it does not know."""
    with tempfile.TemporaryDirectory() as root:
        folder = os.path.join(root, "etc/systemd/system")
        os.makedirs(folder)
        for unit in units():
            shutil.copy(os.path.join(UNITS, unit), folder)
        os.makedirs(f"{folder}/attestation-svc.service.d")
        shutil.copy(os.path.join(UNITS, "drop-ins/attestation-svc-configfs-tsm.conf"), f"{folder}/attestation-svc.service.d")
        for unit in units():
            for key, value in keys(unit):
                if key == "ExecStart":
                    program = os.path.join(root, value.split()[0].lstrip("/"))
                    os.makedirs(os.path.dirname(program), exist_ok=True)
                    shutil.copy("/bin/true", program)
        for part in ("usr/lib/systemd/system", "lib/systemd/system"):
            if os.path.isdir("/" + part) and not os.path.exists(os.path.join(root, part)):
                shutil.copytree("/" + part, os.path.join(root, part), symlinks=True)
        command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}"]
        checked = subprocess.run(command + units(), capture_output=True, text=True)
        ours = [line for line in checked.stderr.splitlines() if any(unit in line for unit in units())]
        return "; ".join(ours) if ours or checked.returncode == 0 else checked.stderr


def exposure(unit):
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", os.path.join(UNITS, unit)]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    score = float(re.search(r"exposure level for \S+: ([0-9.]+)", said).group(1))
    return "" if score <= TARGET else f"{score}, at most {TARGET}"


def bound():
    """The lease is the gate: no unit goes down with another."""
    found = [f"{unit}: {key}" for unit in units() for key, _ in keys(unit) if key in ("BindsTo", "PartOf")]
    return ", ".join(found)


def told(service):
    """It says when it serves, and that it lives; and what refused the machine is not tried for ever."""
    has = dict(keys(service + ".service"))
    wanted = has.get("Type") == "notify" and "WatchdogSec" in has and "3" in has["RestartPreventExitStatus"]
    return "" if wanted else str(has)


def reasoned(unit):
    """What is not closed is explained, in the words before it."""
    with open(os.path.join(UNITS, unit)) as file:
        text = file.read()
    opened = re.findall(r"^(PrivateUsers=no|DeviceAllow=|AmbientCapabilities=\S|ProtectKernelTunables=no)", text, re.M)
    return "" if not opened or "Exceptions, each with its reason" in text else f"{opened} without a reason"


def filtered(name):
    """The names in a set of system calls, as systemd has it."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True)
    names = set()
    for line in said.stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            names |= filtered(word)
        elif word and not word.startswith("#"):
            names.add(word)
    return names


def allowed(unit):
    calls = set()
    for key, value in keys(unit):
        if key != "SystemCallFilter":
            continue
        named = set()
        for word in value.lstrip("~").split():
            named |= filtered(word) if word.startswith("@") else {word}
        calls = calls - named if value.startswith("~") else calls | named
    # Always allowed, as systemd.exec(5) says.
    return calls | {"execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn", "brk"} | filtered("@default")


def called(service):
    with open(TRACES[service]) as file:
        calls = set(re.findall(r"^(?:\d+ +)?(?:<\.\.\. )?([a-z_0-9]+)(?:\(| resumed>)", file.read(), re.M))
    if "epoll_wait" not in calls and "epoll_pwait" not in calls:
        return f"the trace shows no service at work: {sorted(calls)}"
    calls = calls - REFUSED.get(service, set()) | INSTEAD.get(service, set())
    refused = calls - allowed(service + ".service")
    return f"would be refused: {sorted(refused)}" if refused else ""


def families(service):
    """The families of the sockets that it makes."""
    with open(TRACES[service]) as file:
        made = set(re.findall(r"socket(?:pair)?\((AF_[A-Z0-9]+|PF_[A-Z0-9]+)", file.read()))
    has = set(dict(keys(service + ".service"))["RestrictAddressFamilies"].split())
    if "AF_UNIX" not in made:
        return f"the trace shows no service at work: {sorted(made)}"
    return f"would be refused: {sorted(made - has)}" if made - has else ""


def users():
    """Made by systemd itself, they have the numbers of the samples."""
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(f"{root}/etc")
        run = subprocess.run(["systemd-sysusers", f"--root={root}", os.path.abspath(os.path.join(UNITS, "cube.sysusers"))], capture_output=True, text=True)
        complaints = [line for line in run.stderr.splitlines() if not line.startswith("Creating ")]
        if run.returncode or complaints:
            return "; ".join(complaints)
        with open(f"{root}/etc/passwd") as file:
            made = {line.split(":")[0]: line.split(":")[2] for line in file}
    with open("deploy/config/measured.toml") as file:
        named = dict(re.findall(r"\[(identity.gateway|identity.adapter|backend)\][^\[]*?^uid = (\d+)", file.read(), re.M))
    wanted = {"cube-gateway": named["identity.gateway"], "cube-adapter": named["identity.adapter"], "cube-model": named["backend"]}
    return "" if {**made, **wanted} == made else f"{made}, {wanted}"


def device():
    """One rule, of matches and assignments that udev(7) knows."""
    with open(os.path.join(UNITS, "60-cube-sev-guest.rules")) as file:
        rules = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    words = [word.strip() for word in rules[0].split(",")]
    wanted = all(re.fullmatch(r'KERNEL=="[a-z-]+"|(OWNER|GROUP)="cube-attestation"|MODE="0600"', word) for word in words)
    return "" if len(rules) == 1 and wanted else str(rules)


def module():
    """A module that kernels have by this name."""
    with open(os.path.join(UNITS, "cube.modules-load")) as file:
        names = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    return "" if names == ["tcp_diag"] else str(names)


case("verify", verify())
case("users-have-the-numbers-of-the-samples", users())
case("the-device-is-attestation-svcs-alone", device())
case("module", module())
case("no-unit-goes-down-with-another", bound())
for unit in units():
    case(f"exposure/{unit}", exposure(unit))
    case(f"exceptions-have-reasons/{unit}", reasoned(unit))
for service in SERVICES:
    case(f"notify-watchdog-restart/{service}", told(service))
    case(f"system-calls/{service}", called(service))
    case(f"address-families/{service}", families(service))
