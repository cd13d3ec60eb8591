"""Ollama's Python client, unchanged: host and CA come from the environment.

Usage: python ollama.py CASE MODEL. Prints what was seen, or raises.
"""

import json
import sys

import ollama

MODEL = sys.argv[2]
MESSAGES = [{"role": "user", "content": "What is gravity?"}]
SETTLED = {"temperature": 0, "seed": 1, "num_predict": 24}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 20}},
    "required": ["answer"],
    "additionalProperties": False,
}


def weather(city: str) -> str:
    """Tells the weather.

    Args:
      city: Where
    """
    return city


def models():
    print(",".join(model.model for model in ollama.list().models))


def chat():
    answer = ollama.chat(MODEL, MESSAGES, options=SETTLED)
    assert answer.done and answer.eval_count > 0
    print(answer.message.content.strip())


def stream():
    pieces = list(ollama.chat(MODEL, MESSAGES, options=SETTLED, stream=True))
    assert pieces[-1].done
    print("".join(piece.message.content for piece in pieces).strip())


def generate():
    print(len(ollama.generate(MODEL, "What is gravity?", options=SETTLED).response) > 0)


def schema():
    answer = ollama.chat(MODEL, MESSAGES, options={**SETTLED, "num_predict": 200}, format=SCHEMA)
    print(list(json.loads(answer.message.content)))


def tools():
    answer = ollama.chat(MODEL, MESSAGES, tools=[weather])
    (call,) = answer.message.tool_calls
    print(call.function.name, json.dumps(call.function.arguments))


def tools_streamed():
    pieces = ollama.chat(MODEL, MESSAGES, tools=[weather], stream=True)
    (call,) = [call for piece in pieces for call in piece.message.tool_calls or []]
    print(call.function.name, json.dumps(call.function.arguments))


def show():
    print(ollama.show(MODEL).capabilities)


def embedding():
    answer = ollama.embed(MODEL, ["gravity", "light"])
    print(len(answer.embeddings), len(answer.embeddings[0]) == len(answer.embeddings[1]) > 0)


def managing():
    try:
        ollama.pull(MODEL)
    except ollama.ResponseError as error:
        print(error.status_code)


def lapse():
    try:
        pieces = ollama.chat(MODEL, MESSAGES, stream=True)
        for index, _ in enumerate(piece for piece in pieces if piece.message.content):
            if index == 0:
                print("first", flush=True)
        print("complete", flush=True)
    except Exception as error:  # whatever the library raises is what we want to see
        print(f"raised {type(error).__name__}", flush=True)


globals()[sys.argv[1]]()
