"""A wheel that carries the static program `cube`, so that `pip install` brings it. Arguments: program, version, folder."""

import base64
import hashlib
import os
import stat
import sys
import zipfile

PROGRAM, VERSION, FOLDER = sys.argv[1:]
NAME = "cube_verify"
# It needs no library of the machine's, so that it runs with either.
TAGS = ["py3-none-manylinux2014_x86_64", "py3-none-musllinux_1_1_x86_64"]
INFO = f"{NAME}-{VERSION}.dist-info"

metadata = f"""Metadata-Version: 2.1
Name: cube-verify
Version: {VERSION}
Summary: Proves that an LLM endpoint runs inside an AMD SEV-SNP confidential VM, before the first prompt leaves you
License: Apache-2.0
Requires-Python: >=3.8

The command `cube`: `cube verify`, `cube proxy` for SDKs that check nothing themselves, `cube policy`, and more.
"""
wheel = "Wheel-Version: 1.0\nGenerator: cube\nRoot-Is-Purelib: false\n" + "".join(f"Tag: {tag}\n" for tag in TAGS)
with open(PROGRAM, "rb") as file:
    program = file.read()
files = [
    (f"{NAME}-{VERSION}.data/scripts/cube", program, 0o755),
    (f"{INFO}/METADATA", metadata.encode(), 0o644),
    (f"{INFO}/WHEEL", wheel.encode(), 0o644),
]
record = ""
for name, content, _ in files:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    record += f"{name},sha256={digest},{len(content)}\n"
files.append((f"{INFO}/RECORD", (record + f"{INFO}/RECORD,,\n").encode(), 0o644))

path = os.path.join(FOLDER, f"{NAME}-{VERSION}-py3-none-manylinux2014_x86_64.musllinux_1_1_x86_64.whl")
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content, mode in files:
        # The same bytes from the same program, whenever it is made.
        info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        info.external_attr = (stat.S_IFREG | mode) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
print(path)
