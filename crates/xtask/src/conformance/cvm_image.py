"""The measured image, booted by QEMU's emulation. Each case is one line of JSON on stdout.

Arguments: the image, the same image built again, what host and relying party have, `cube`, a firmware image with SEV's
metadata. The simulated hardware is a disk, on which the host writes what the launch measures to, as the processor would tell.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

IMAGE, AGAIN, OUTSIDE, CUBE, FIRMWARE = sys.argv[1:]
PATIENCE = 240
PARTS = ["vmlinuz", "initrd", "cmdline", "server.disk"]


def case(name, why):
    print(json.dumps({"id": f"real:cvm-image/{name}", "result": "fail" if why else "pass", "why": (why or "")[:2500]}), flush=True)


def read(path, mode="rb"):
    with open(path, mode) as file:
        return file.read()


def reproducible():
    others = [part for part in PARTS if read(os.path.join(IMAGE, part)) != read(os.path.join(AGAIN, part))]
    return f"differ: {others}" if others else ""


def contents():
    """Every file of the initrd, by the program that everybody has for it."""
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(IMAGE, "initrd"), "rb") as archive:
        subprocess.run(["cpio", "--extract", "--quiet", "--make-directories", "--no-absolute-filenames"], stdin=archive, cwd=folder)
        found = [os.path.relpath(os.path.join(place, name), folder) for place, _, names in os.walk(folder) for name in names]
    programs = {name for name in found if not name.startswith(("etc/cube/", "lib/modules/", "dev/"))}
    wanted = {"init", "bin/attestation-svc", "bin/inference-gateway", "bin/backend-adapter"}
    return "" if programs == wanted else f"beside the services: {sorted(programs ^ wanted)}"


def measured(image):
    command = [CUBE, "measure", "--ovmf", FIRMWARE, "--kernel", f"{image}/vmlinuz", "--initrd", f"{image}/initrd",
               "--append", read(f"{image}/cmdline", "r"), "--vcpus", "2", "--vcpu-type", "EPYC-v4"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return run.stdout.split()[1]


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Machine:
    """The image at work; `told` is what the host says that it measures to."""

    def __init__(self, image, told):
        self.folder = tempfile.TemporaryDirectory()
        self.log, self.port = os.path.join(self.folder.name, "console"), port()
        hardware = os.path.join(self.folder.name, "hardware")
        guest = json.loads(read(os.path.join(OUTSIDE, "guest.json")))
        text = json.dumps({**guest, "measurement": told}).encode()
        with open(hardware, "wb") as file:
            # JSON takes spaces at its end, and a disk has whole sectors.
            file.write(text.ljust(-(-len(text) // 512) * 512))
        command = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "2048", "-display", "none", "-no-reboot",
            "-serial", f"file:{self.log}", "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd", "-append", read(f"{image}/cmdline", "r"),
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:8443", "-device", "virtio-net-pci,netdev=net",
            "-drive", f"file={hardware},format=raw,if=none,id=hardware,readonly=on", "-device", "virtio-blk-pci,drive=hardware,serial=hardware",
            "-drive", f"file={image}/server.disk,format=raw,if=none,id=server,readonly=on", "-device", "virtio-blk-pci,drive=server,serial=server",
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=open(os.path.join(self.folder.name, "qemu"), "w"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def console(self):
        text = read(self.log).decode(errors="replace") if os.path.exists(self.log) else ""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)

    def until(self, word):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if word in self.console():
                return ""
            if self.process.poll() is not None:
                return f"the machine ended: {self.console()[-1500:]}"
            time.sleep(0.5)
        return f"no {word!r}: {self.console()[-1500:]}"

    def cube(self, policy, *arguments):
        command = [CUBE, arguments[0], f"https://127.0.0.1:{self.port}", "--policy", policy, "--allow-simulated", os.path.join(OUTSIDE, "simulated-root.pem"),
                   "--timeout", "60", *arguments[1:]]
        return subprocess.run(command, capture_output=True, text=True)

    def answers(self, policy):
        """The model server may come up last."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            run = self.cube(policy, "chat", "hello")
            if "Hello from the fake." in run.stdout:
                return ""
            time.sleep(1)
        return f"{run.returncode}: {run.stderr}{self.console()[-1500:]}"


def policy(measurement):
    path = os.path.join(OUTSIDE, "policy.toml")
    with open(path, "w") as file:
        file.write(read(os.path.join(OUTSIDE, "client-policy.toml"), "r").replace("c0" * 48, measurement))
    return path


def flipped(part, at):
    """The image with one bit changed in one of its parts."""
    folder = tempfile.mkdtemp()
    for name in PARTS:
        shutil.copy(os.path.join(IMAGE, name), folder)
    path = os.path.join(folder, part)
    with open(path, "r+b") as file:
        file.seek(at(read(path)))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    return folder


def main():
    case("built-twice-equal-bits", reproducible())
    case("nothing-but-the-services", contents())
    measurement = measured(IMAGE)
    pinned = policy(measurement)
    with Machine(IMAGE, measurement) as machine:
        why = machine.until("inference-gateway serves")
        case("boots-and-serves", why)
        why = why or machine.until("network:")
        console = machine.console()
        order = console.find("inference-gateway serves") < console.find("network:")
        case("no-network-before-it-serves", why or ("" if order else console))
        run = machine.cube(pinned, "verify", "--json")
        said = json.loads(run.stdout) if run.stdout.startswith("{") else {}
        case("verified-from-outside", "" if run.returncode == 0 else f"{run.returncode}: {run.stdout}{run.stderr}")
        # Rule of the policy: the programs themselves are inside what is measured.
        case("covers-userspace", "" if 'covers = "userspace"' in read(pinned, "r") and "kernel-only" not in json.dumps(said) else str(said))
        case("a-prompt-is-answered", machine.answers(pinned))
    # Within the name of a file that nobody reads, so that the machine runs as ever and only the measurement tells.
    changed = flipped("initrd", lambda bytes: bytes.index(b"etc/cube/simulated-root.pem") - 1)
    case("one-bit-of-the-initrd-is-another-measurement", "" if measured(changed) != measurement else "the same")
    other = flipped("cmdline", lambda bytes: bytes.index(b"cube.disk=server,") + 20)
    case("another-root-hash-is-another-measurement", "" if measured(other) != measurement else "the same")
    with Machine(IMAGE, measured(changed)) as machine:
        why = machine.until("network:")
        run = machine.cube(pinned, "verify", "--json")
        refused = run.returncode == 11 and json.loads(run.stdout)["reason"] == "measurement"
        case("another-measurement-is-refused-from-outside", why or ("" if refused else f"{run.returncode}: {run.stdout}{run.stderr}"))
    # In the middle of the program on the disk.
    broken = flipped("server.disk", lambda bytes: len(bytes) // 4)
    with Machine(broken, measurement) as machine:
        end = time.monotonic() + PATIENCE
        while machine.process.poll() is None and time.monotonic() < end:
            run = machine.cube(pinned, "chat", "hello")
            if "Hello" in run.stdout:
                break
            time.sleep(1)
        stopped = machine.process.poll() is not None and "verity" in machine.console()
        case("one-bit-of-the-disk-stops-the-machine", "" if stopped else machine.console()[-2000:])


main()
