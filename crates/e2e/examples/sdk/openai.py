"""OpenAI's Python client, unchanged: base URL, key and CA come from the environment.

Usage: python openai.py CASE MODEL. Prints what was seen, or raises.
"""

import json
import sys

from openai import OpenAI

CLIENT = OpenAI(max_retries=0)
MODEL = sys.argv[2]
MESSAGES = [{"role": "user", "content": "What is gravity?"}]
SETTLED = {"model": MODEL, "messages": MESSAGES, "temperature": 0, "seed": 1, "max_tokens": 24}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 20}},
    "required": ["answer"],
    "additionalProperties": False,
}


def models():
    print(",".join(model.id for model in CLIENT.models.list()))


def chat():
    answer = CLIENT.chat.completions.create(**SETTLED)
    assert answer.usage.completion_tokens > 0
    print(answer.choices[0].message.content.strip())


def stream():
    pieces = list(CLIENT.chat.completions.create(**SETTLED, stream=True))
    assert all(piece.usage is None for piece in pieces), "usage that nobody asked for"
    print("".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices).strip())


def usage():
    options = {"include_usage": True}
    pieces = list(CLIENT.chat.completions.create(**SETTLED, stream=True, stream_options=options))
    print(pieces[-1].usage.completion_tokens > 0)


def schema():
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    answer = CLIENT.chat.completions.create(**{**SETTLED, "max_tokens": 200}, response_format=form)
    print(list(json.loads(answer.choices[0].message.content)))


def tools():
    answer = CLIENT.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls
    print(call.function.name, call.function.arguments, answer.choices[0].finish_reason)


def tools_streamed():
    pieces = CLIENT.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[WEATHER], stream=True)
    calls = [call for piece in pieces if piece.choices for call in piece.choices[0].delta.tool_calls or []]
    assert calls[0].id
    print(calls[0].function.name, "".join(call.function.arguments or "" for call in calls))


def completion():
    answer = CLIENT.completions.create(model=MODEL, prompt="Gravity is", max_tokens=8, temperature=0)
    print(len(answer.choices[0].text) > 0)


def embedding():
    answer = CLIENT.embeddings.create(model=MODEL, input=["gravity", "light"])
    print(len(answer.data), len(answer.data[0].embedding) == len(answer.data[1].embedding) > 0)


def lapse():
    pieces = CLIENT.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    try:
        for index, _ in enumerate(piece for piece in pieces if piece.choices and piece.choices[0].delta.content):
            if index == 0:
                print("first", flush=True)
        print("complete", flush=True)
    except Exception as error:  # whatever the library raises is what we want to see
        print(f"raised {type(error).__name__}", flush=True)


globals()[sys.argv[1]]()
