"""Official clients against a gateway in front of a real model server.

Usage: python -c ... SERVER, one of vllm, vllm-pooling and ollama. A line of JSON for each case. GATEWAY is the gateway's URL,
MODEL_SERVER the model server's own, SSL_CERT_FILE the CA that the evidence vouches for.
"""

import json
import os
import re
import sys
import time

import httpx
import ollama
import openai

SERVER = sys.argv[1]
GATEWAY, MODEL_SERVER = os.environ["GATEWAY"], os.environ["MODEL_SERVER"]
MODEL = os.environ["MODEL"]
OPENAI = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key="none", max_retries=0)
OLLAMA = ollama.Client(host=GATEWAY)
HTTP = httpx.Client(base_url=GATEWAY, timeout=120)
MESSAGES = [{"role": "user", "content": "What is gravity?"}]
SETTLED = {"model": MODEL, "messages": MESSAGES, "temperature": 0, "seed": 1, "max_tokens": 16}
OPTIONS = {"temperature": 0, "seed": 1, "num_predict": 16}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "weather", "strict": True, "parameters": SCHEMA}}
CASES = []


def case(*servers):
    def keep(run):
        if SERVER in servers:
            CASES.append(run)
        return run

    return keep


def said(pieces):
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def refusal(call):
    """The status and the code of an error."""
    try:
        call()
    except openai.APIStatusError as error:
        return error.status_code, error.code
    except ollama.ResponseError as error:
        return error.status_code, None
    raise AssertionError("it was accepted")


@case("vllm", "vllm-pooling", "ollama")
def openai_models():
    assert [model.id for model in OPENAI.models.list()] == [MODEL]


@case("vllm", "ollama")
def openai_whole_and_streamed_are_equal():
    whole = OPENAI.chat.completions.create(**SETTLED)
    assert whole.usage.completion_tokens > 0 and whole.choices[0].finish_reason in ("stop", "length")
    pieces = list(OPENAI.chat.completions.create(**SETTLED, stream=True, stream_options={"include_usage": True}))
    assert pieces[-1].usage == whole.usage, pieces[-1].usage
    assert said(pieces) == whole.choices[0].message.content


@case("vllm", "ollama")
def openai_schema():
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    answer = OPENAI.chat.completions.create(**{**SETTLED, "max_tokens": 100}, response_format=form)
    assert json.loads(answer.choices[0].message.content) == {"city": "Rome"}


@case("vllm")
def openai_forced_tool():
    choice = {"type": "function", "function": {"name": "weather"}}
    # Drawn, or a model without sense would write white space for ever.
    asked = {**SETTLED, "temperature": 1, "max_tokens": 400, "tools": [WEATHER], "tool_choice": choice}
    (call,) = OPENAI.chat.completions.create(**asked).choices[0].message.tool_calls
    pieces = OPENAI.chat.completions.create(**asked, stream=True)
    deltas = [call for piece in pieces for call in piece.choices[0].delta.tool_calls or []]
    assert deltas[0].id and deltas[0].function.name == call.function.name == "weather"
    streamed = "".join(delta.function.arguments or "" for delta in deltas)
    assert json.loads(streamed) == json.loads(call.function.arguments) == {"city": "Rome"}


@case("vllm")
def openai_two_answers_with_probabilities():
    answer = OPENAI.chat.completions.create(**{**SETTLED, "temperature": 1}, n=2, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2


@case("vllm")
def openai_regex_of_vllm():
    body = {"structured_outputs": {"regex": "[0-9]{3}"}}
    answer = OPENAI.chat.completions.create(**SETTLED, extra_body=body)
    assert re.fullmatch("[0-9]{3}", answer.choices[0].message.content)


@case("vllm", "ollama")
def openai_completions():
    asked = {"model": MODEL, "prompt": "Gravity is", "max_tokens": 8, "temperature": 0, "seed": 1}
    whole = OPENAI.completions.create(**asked).choices[0].text
    streamed = "".join(piece.choices[0].text for piece in OPENAI.completions.create(**asked, stream=True))
    assert streamed == whole


@case("vllm")
def openai_responses():
    answer = OPENAI.responses.create(model=MODEL, input="hi", max_output_tokens=8)
    assert answer.status in ("completed", "incomplete") and answer.usage.output_tokens > 0
    events = [event.type for event in OPENAI.responses.create(model=MODEL, input="hi", max_output_tokens=8, stream=True)]
    assert events[0] == "response.created" and events[-1] in ("response.completed", "response.incomplete"), events


@case("vllm")
def anthropic_messages():
    asked = {"model": MODEL, "max_tokens": 8, "messages": MESSAGES}
    answer = HTTP.post("/v1/messages", json=asked).json()
    assert answer["type"] == "message" and answer["usage"]["output_tokens"] > 0
    streamed = HTTP.post("/v1/messages", json={**asked, "stream": True}).text
    assert "event: message_start" in streamed and streamed.rstrip().split("\n\n")[-1].startswith("event: message_stop")


@case("vllm")
def tokens():
    asked = {"model": MODEL, "prompt": "What is gravity?"}
    found = HTTP.post("/tokenize", json=asked).json()["tokens"]
    assert HTTP.post("/detokenize", json={"model": MODEL, "tokens": found}).json()["prompt"] == asked["prompt"]


@case("vllm-pooling", "ollama")
def openai_embeddings():
    answer = OPENAI.embeddings.create(model=MODEL, input=["gravity", "light"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) == len(answer.data[1].embedding) > 0


@case("vllm-pooling")
def rerank():
    asked = {"model": MODEL, "query": "gravity", "documents": ["gravity", "light"]}
    assert len(HTTP.post("/v1/rerank", json=asked).json()["results"]) == 2


@case("vllm")
def endpoints_of_other_models():
    absent = (501, "ENDPOINT_NOT_IN_BACKEND")
    assert refusal(lambda: OPENAI.embeddings.create(model=MODEL, input="x")) == absent
    recording = ("a.wav", b"RIFF", "audio/wav")
    assert refusal(lambda: OPENAI.audio.transcriptions.create(model=MODEL, file=recording)) == absent
    assert HTTP.post("/v1/rerank", json={"model": MODEL, "query": "a", "documents": ["b"]}).status_code == 501


@case("vllm-pooling")
def chats_of_other_models():
    assert refusal(lambda: OPENAI.chat.completions.create(**SETTLED)) == (501, "ENDPOINT_NOT_IN_BACKEND")


@case("vllm", "ollama")
def absent_model():
    seen = refusal(lambda: OPENAI.chat.completions.create(**{**SETTLED, "model": "absent"}))
    assert seen == (404, "MODEL_NOT_FOUND"), seen
    assert refusal(lambda: OLLAMA.chat("absent", MESSAGES)) == (404, None)


@case("vllm", "ollama")
def too_long_a_prompt():
    long = [{"role": "user", "content": "secret words " * 20_000}]
    status, code = refusal(lambda: OPENAI.chat.completions.create(**{**SETTLED, "messages": long}))
    assert (status, code) == (413, "REQUEST_TOO_LARGE"), (status, code)


@case("ollama")
def openai_what_ollama_has_not():
    assert refusal(lambda: OPENAI.chat.completions.create(**SETTLED, n=2))[0] == 400


@case("vllm", "ollama")
def ollama_whole_and_streamed_are_equal():
    whole = OLLAMA.chat(MODEL, MESSAGES, options=OPTIONS)
    pieces = list(OLLAMA.chat(MODEL, MESSAGES, options=OPTIONS, stream=True))
    assert whole.done and whole.eval_count > 0 and pieces[-1].done
    assert "".join(piece.message.content for piece in pieces) == whole.message.content


@case("vllm", "ollama")
def ollama_generate():
    assert OLLAMA.generate(MODEL, "Gravity is", options=OPTIONS).done


@case("vllm", "ollama")
def ollama_schema():
    options = {**OPTIONS, "num_predict": 100}
    answer = OLLAMA.chat(MODEL, MESSAGES, options=options, format=SCHEMA)
    assert json.loads(answer.message.content) == {"city": "Rome"}


@case("vllm-pooling", "ollama")
def ollama_embed():
    assert len(OLLAMA.embed(MODEL, ["gravity", "light"]).embeddings) == 2


@case("vllm", "ollama")
def ollama_lists():
    assert [model.model for model in OLLAMA.list().models] == [MODEL]
    # Only Ollama says what it has loaded.
    assert [model.model for model in OLLAMA.ps().models] == ([MODEL] if SERVER == "ollama" else [])
    assert "completion" in OLLAMA.show(MODEL).capabilities


@case("vllm", "ollama")
def ollama_management_is_refused():
    assert refusal(lambda: OLLAMA.pull(MODEL)) == (403, None)


def metric(name):
    text = httpx.get(f"{MODEL_SERVER}/metrics").text
    return sum(map(float, re.findall(rf"^vllm:{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)))


ENDLESS = {**SETTLED, "max_tokens": 900, "extra_body": {"ignore_eos": True}}


def stops_early(leave):
    """Whether vLLM has nothing left to do and has not written it all; without a pause, since each look takes time."""
    before, until = metric("generation_tokens_total"), time.monotonic() + 60
    leave()
    while metric("num_requests_running") > 0:
        assert time.monotonic() < until, "it goes on"
    written = metric("generation_tokens_total") - before
    assert 0 < written < ENDLESS["max_tokens"], written


@case("vllm")
def leaving_in_mid_stream_stops_it():
    def leave():
        pieces = OPENAI.chat.completions.create(**ENDLESS, stream=True)
        next(pieces)
        pieces.close()

    stops_early(leave)


@case("vllm")
def leaving_before_a_whole_answer_stops_it():
    def leave():
        try:
            OPENAI.with_options(timeout=0.5).chat.completions.create(**ENDLESS)
        except openai.APITimeoutError:
            return
        raise AssertionError("it was faster than the client's patience")

    stops_early(leave)


for run in CASES:
    name = f"real:{SERVER}/{run.__name__.replace('_', '-')}"
    try:
        run()
        outcome = {"id": name, "result": "pass", "why": ""}
    except Exception as error:  # whatever goes wrong is what we want to see
        outcome = {"id": name, "result": "fail", "why": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(outcome), flush=True)
