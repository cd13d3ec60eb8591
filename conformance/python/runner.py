#!/usr/bin/env python3
"""Questions on stdin, one JSON object a line; verdicts on stdout (conformance/README.md). Ends with the last verdict's code."""

import json
import sys
import warnings

from cryptography.utils import CryptographyDeprecationWarning

from bundle_verifier import RULES, judge_bundle
from strict import Refused
from token_verifier import judge_token

# AMD gives every VEK the serial number 0.
warnings.simplefilter("ignore", CryptographyDeprecationWarning)

CHANNEL = "bundle.purpose bundle.nonce bundle.binding bundle.tree report_data manifest.tls_key".split()
UNAVAILABLE = "collateral.vek collateral.asvk crl crl.dates".split()


def exit_code(reason):
    if reason in UNAVAILABLE:
        return 12
    return 13 if reason in CHANNEL else 11 if reason in RULES or reason == "instance.identity" else 10


def judge(question):
    if "token" in question:
        judge_token(question["token"], question["expected"])
    else:
        judge_bundle(question)


def main():
    code = 2
    for line in sys.stdin:
        try:
            judge(json.loads(line))
            verdict, reason, code = "trusted", None, 0
        except Refused as refusal:
            reason, code = str(refusal), exit_code(str(refusal))
            verdict = "unavailable" if code == 12 else "refused"
        except (ValueError, LookupError, TypeError) as error:
            print(f"not a question of the pack: {error!r}", file=sys.stderr)
            return 2
        print(json.dumps({"verdict": verdict, "reason": reason}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
