"""A stock client whose stream breaks in the middle: it must raise.

Usage: python stock_clients.py openai|grpc URL CA.pem REQUEST_HEX
Prints "first" once the first piece came, then "raised <type>: <text>", or
"complete" if the broken stream passed for a whole one.
"""

import ssl
import sys


def openai(url, ca):
    import httpx
    from openai import OpenAI

    http = httpx.Client(verify=ssl.create_default_context(cafile=ca))
    client = OpenAI(base_url=url + "/v1", api_key="none", http_client=http, max_retries=0)
    messages = [{"role": "user", "content": "hello"}]
    return client.chat.completions.create(model="fake", messages=messages, stream=True)


def grpc(url, ca, request):
    import grpc as library

    with open(ca, "rb") as file:
        credentials = library.ssl_channel_credentials(root_certificates=file.read())
    channel = library.secure_channel(url.removeprefix("https://"), credentials)
    call = channel.unary_stream("/cube.inference.v1.InferenceService/StreamChat")
    return call(bytes.fromhex(request), timeout=120)


def main():
    kind, url, ca, request = sys.argv[1:5]
    try:
        stream = openai(url, ca) if kind == "openai" else grpc(url, ca, request)
        for index, _ in enumerate(stream):
            if index == 0:
                print("first", flush=True)
        print("complete", flush=True)
    except Exception as error:  # whatever the library raises is what we want to see
        print(f"raised {type(error).__name__}: {error}".replace("\n", " "), flush=True)


main()
