"""What every part of the verifier needs: refusals that name a check, and JSON that says one thing in one way (bundle.md)."""

import base64
import json

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm


class Refused(Exception):
    """The id of the first check that failed."""


def check(reason, holds):
    if not holds:
        raise Refused(reason)


def checked(reason, read, *given):
    """What `read` makes of what is given; what it cannot read fails the check."""
    try:
        return read(*given)
    except (ValueError, RecursionError, x509.InvalidVersion, x509.DuplicateExtension, UnsupportedAlgorithm):
        raise Refused(reason) from None


def need(holds):
    if not holds:
        raise ValueError("not of its form")


def strict(data, shape, most):
    def once(pairs):
        need(len(dict(pairs)) == len(pairs))
        return dict(pairs)

    def never(_):
        raise ValueError("not a whole number")

    need(len(data) <= most)
    return fit(json.loads(data.decode(), object_pairs_hook=once, parse_float=never, parse_constant=never), shape)


def fit(value, shape):
    if callable(shape):
        return shape(value)
    if isinstance(shape, list):
        need(isinstance(value, list))
        return [fit(item, shape[0]) for item in value]
    names = {name.rstrip("?"): kind for name, kind in shape.items()}
    need(isinstance(value, dict) and {n for n in shape if n in names} <= set(value) <= set(names))
    return {name: fit(value[name], kind) if name in value else None for name, kind in names.items()}


def text(value):
    need(isinstance(value, str))
    value.encode()  # Half a surrogate pair is no text.
    return value


def word(*known):
    return lambda value: known[known.index(text(value))]


def number(low, high):
    def read(value):
        need(type(value) is int and low <= value < high)
        return value

    return read


def b64(value):
    found = base64.b64decode(text(value), validate=True)
    need(base64.b64encode(found).decode() == value)
    return found


def b64u(length=None):
    def read(value):
        found = b64(text(value).translate({45: "+", 95: "/", 43: "*", 47: "*"}) + "=" * (-len(value) % 4))
        need(length in (None, len(found)) and "=" not in value)
        return found

    return read


def b64u_of(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


U32, U64, TIME = number(0, 1 << 32), number(0, 1 << 64), number(-1 << 63, 1 << 63)
