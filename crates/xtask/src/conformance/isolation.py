"""The rules of deploy/nftables in a network of their own: who reaches the model server, and what it reaches.

Run inside an empty network namespace as root. Each case is one line of JSON on stdout.
"""

import json
import os
import socket
import subprocess
import sys

GATEWAY, ADAPTER, MODEL_SERVER, STRANGER = 6401, 6402, 6403, 6499
PORT, RUNNER, CUBE = 11434, 40000, 8445
OUTSIDE = "192.0.2.2"


def as_user(uid, act):
    """What `act` says, done by a process of `uid`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        try:
            act()
            said = "ok"
        except OSError as error:
            said = os.strerror(error.errno)
        except Exception as error:
            said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def listening(uid, port):
    """A socket of `uid`, which the kernel answers on."""
    reader, writer = socket.socketpair()
    child = os.fork()
    if child == 0:
        os.setgid(uid)
        os.setuid(uid)
        listener = socket.create_server(("127.0.0.1", port))
        writer.send(b"1")
        while True:
            connection, _ = listener.accept()
            connection.sendall(b"answer")
            connection.close()
    assert reader.recv(1) == b"1"
    return child


def reach(port):
    def act():
        with socket.socket() as connection:
            connection.settimeout(5)
            connection.connect(("127.0.0.1", port))
            answer = connection.recv(16)
            if answer != b"answer":
                raise OSError(71, "no answer")

    return act


def send(address, port):
    return lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (address, port))


def case(name, uid, act, expected):
    said = as_user(uid, act)
    why = "" if said == expected else f"expected {expected!r}, saw {said!r}"
    print(json.dumps({"id": f"real:{name}", "result": "pass" if said == expected else "fail", "why": why}), flush=True)


def main(rules):
    for command in ["link set lo up", "link add out0 type veth peer name in0", "addr add 192.0.2.1/24 dev out0", "link set out0 up", "link set in0 up"]:
        subprocess.run(["ip", *command.split()], check=True)
    children = [listening(MODEL_SERVER, PORT), listening(MODEL_SERVER, RUNNER), listening(ADAPTER, CUBE)]
    # Otherwise the refusals below would prove nothing.
    case("without-rules-anybody-connects", GATEWAY, reach(PORT), "ok")
    case("without-rules-it-gets-out", MODEL_SERVER, send(OUTSIDE, 9), "ok")
    for _ in range(2):
        subprocess.run(["nft", "-f", rules], check=True)
    case("the-adapter-connects", ADAPTER, reach(PORT), "ok")
    for name, uid in [("the-gateway", GATEWAY), ("a-stranger", STRANGER), ("root", 0)]:
        case(f"{name}-is-refused", uid, reach(PORT), "Connection refused")
    case("its-runners-are-reached-by-itself", MODEL_SERVER, reach(RUNNER), "ok")
    case("others-go-on-as-before", GATEWAY, reach(CUBE), "ok")
    case("others-get-out", GATEWAY, send(OUTSIDE, 9), "ok")
    case("it-does-not-get-out", MODEL_SERVER, send(OUTSIDE, 9), "Operation not permitted")
    case("it-asks-no-resolver", MODEL_SERVER, send("127.0.0.53", 53), "Operation not permitted")
    for child in children:
        os.kill(child, 9)


main(sys.argv[1])
