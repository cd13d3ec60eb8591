"""Runs llama.cpp's server on loopback until standard input ends.

Usage: python -c THIS MODEL.gguf NAME PORT [--embeddings]. Prints "ready" once the model is loaded.
"""

import sys

import xllamacpp

path, name, port, *flags = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = path
params.model_alias = {name}
params.hostnames = ["127.0.0.1"]
params.port = int(port)
params.n_ctx = 4096
params.n_parallel = 4
params.cpuparams.n_threads = 2
if "--embeddings" in flags:
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(params)
print("ready", flush=True)
sys.stdin.read()
