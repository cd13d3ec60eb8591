"""Official clients through `cube proxy`, unchanged: base URL and key come from the environment, as it printed them.

Usage: python proxy.py CASE. Prints what was seen, or raises.
"""

import sys

MESSAGES = [{"role": "user", "content": "hello"}]


def openai():
    from openai import OpenAI

    return OpenAI(max_retries=0)


def models():
    print(",".join(model.id for model in openai().models.list()))


def whole():
    answer = openai().chat.completions.create(model="fake", messages=MESSAGES)
    print(answer.choices[0].message.content)


def stream():
    pieces = openai().chat.completions.create(model="fake", messages=MESSAGES, stream=True)
    print("".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices))


def ollama_models():
    import ollama

    print(",".join(model.model for model in ollama.list().models))


def ollama_stream():
    import ollama

    print("".join(piece.message.content for piece in ollama.chat("fake", MESSAGES, stream=True)))


def ollama_refused():
    import ollama

    try:
        ollama_models()
    except ollama.ResponseError as error:
        print(error.status_code)


def lapse():
    pieces = openai().chat.completions.create(model="fake", messages=MESSAGES, stream=True)
    try:
        for index, _ in enumerate(pieces):
            if index == 0:
                print("first", flush=True)
        print("complete", flush=True)
    except Exception as error:  # whatever the library raises is what we want to see
        print(f"raised {type(error).__name__}: {error}".replace("\n", " "), flush=True)


def refused():
    from openai import APIStatusError

    try:
        models()
    except APIStatusError as error:
        print(f"{error.status_code} {error.code}")


globals()[sys.argv[1]]()
