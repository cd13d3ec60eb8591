"""gRPC's own Python library with stubs made from the .proto files, which PYTHONPATH names.

Usage: python grpc.py CASE MODEL. Prints what was seen, or raises. GATEWAY is host and port.
"""

import json
import os
import sys

import grpc
from cube.inference.v1 import chat_pb2 as chat_v1
from cube.inference.v1 import inference_pb2 as v1
from cube.inference.v1 import inference_pb2_grpc as stubs
from grpc_status import rpc_status
from google.rpc import error_details_pb2

MODEL = sys.argv[2]
with open(os.environ["SSL_CERT_FILE"], "rb") as ca:
    CHANNEL = grpc.secure_channel(os.environ["GATEWAY"], grpc.ssl_channel_credentials(ca.read()))
INFERENCE = stubs.InferenceServiceStub(CHANNEL)
MODELS = stubs.ModelServiceStub(CHANNEL)
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 20}},
    "required": ["answer"],
    "additionalProperties": False,
}


def spec(max_tokens=24, **more):
    question = chat_v1.ContentPart(text="What is gravity?")
    return chat_v1.ChatSpec(
        model=MODEL,
        messages=[chat_v1.Message(role=chat_v1.ROLE_USER, content=[question])],
        sampling=chat_v1.Sampling(temperature=0, seed=1, max_tokens=max_tokens),
        **more,
    )


def events(**more):
    """Each with the next number."""
    answers = INFERENCE.StreamChat(v1.StreamChatRequest(spec=spec(**more)), timeout=60)
    for sequence, answer in enumerate(answers):
        assert answer.event.sequence == sequence
        yield answer.event


def text(message):
    return "".join(part.text for part in message.content).strip()


def reason(error):
    """The code, and the reason in the details."""
    details = rpc_status.from_call(error).details
    info = error_details_pb2.ErrorInfo()
    assert details[0].Unpack(info) and info.domain == "cube"
    return f"{error.code().name} {info.reason}"


def models():
    answer = MODELS.ListModels(v1.ListModelsRequest())
    print(",".join(model.name.removeprefix("models/") for model in answer.models))


def chat():
    answer = INFERENCE.Chat(v1.ChatRequest(spec=spec()))
    assert answer.usage.completion_tokens > 0
    print(text(answer.message))


def stream():
    seen = list(events())
    kinds = [event.WhichOneof("event") for event in seen]
    assert kinds[0] == "started" and kinds[-2:] == ["finished", "usage"], kinds
    print("".join(event.text.text for event in seen).strip())


def schema():
    form = chat_v1.ResponseFormat(json_schema=chat_v1.JsonSchema(name="answer", schema=json.dumps(SCHEMA)))
    answer = INFERENCE.Chat(v1.ChatRequest(spec=spec(200, response_format=form)))
    print(list(json.loads(text(answer.message))))


def tools():
    weather = chat_v1.Tool(name="weather", parameters_json_schema='{"type":"object"}')
    seen = list(events(tools=[weather]))
    (call,) = [event.tool_call_started for event in seen if event.HasField("tool_call_started")]
    print(call.name, "".join(event.tool_call_delta.arguments for event in seen))


def completion():
    sampling = chat_v1.Sampling(temperature=0, max_tokens=8)
    asked = v1.CompletionSpec(model=MODEL, prompt="Gravity is", sampling=sampling)
    print(len(INFERENCE.Complete(v1.CompleteRequest(spec=asked)).text) > 0)


def embedding():
    first, second = INFERENCE.Embed(v1.EmbedRequest(model=MODEL, inputs=["gravity", "light"])).embeddings
    print(2, len(first.values) == len(second.values) > 0)


def refused():
    try:
        INFERENCE.Chat(v1.ChatRequest(spec=spec()))
    except grpc.RpcError as error:
        print(reason(error))


def deadline():
    try:
        INFERENCE.Chat(v1.ChatRequest(spec=spec()), timeout=1)
    except grpc.RpcError as error:
        print(error.code().name)


def lapse():
    try:
        for event in events():
            if event.HasField("text"):
                print("first", flush=True)
        print("complete", flush=True)
    except grpc.RpcError as error:
        print(f"raised {reason(error)}", flush=True)


globals()[sys.argv[1]]()
