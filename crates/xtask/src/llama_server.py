"""Runs llama.cpp's server on loopback until standard input ends.

Usage: python -c THIS MODEL.gguf NAME PORT. Prints "ready" once the model is loaded.
"""

import sys

import xllamacpp

path, name, port = sys.argv[1:4]
params = xllamacpp.CommonParams()
params.model.path = path
params.model_alias = {name}
params.hostnames = ["127.0.0.1"]
params.port = int(port)
params.n_ctx = 4096
params.n_parallel = 4
params.cpuparams.n_threads = 2
server = xllamacpp.Server(params)
print("ready", flush=True)
sys.stdin.read()
