"""The browser's signature against botocore's."""

import random

from browser.console_stub import botocore_signature

ALPHABET = "abcXYZ012 /+=%'\"äß漢\n~*!()"
SIGN = """async (requests) => {
    const { sign } = await import("./sigv4.js");
    const answers = [];
    for (const { url, headers, body, credentials, now } of requests) {
        const request = { method: "POST", url: new URL(url), headers, body };
        answers.push(await sign(request, credentials, new Date(now)));
    }
    return answers;
}"""


def requests(count):
    chance = random.Random(20261)
    print("seed 20261")

    def text(length):
        return "".join(chance.choice(ALPHABET) for _ in range(chance.randrange(length)))

    for number in range(count):
        path = chance.choice(["/", "/rek/", "/a%20b/", "/%E6%BC%A2/x~y/", "/v1/IndexFaces"])
        host = chance.choice(["example.org", "127.0.0.1:8080", "[::1]:8080"])
        yield {
            "url": f"http://{host}{path}",
            "headers": {
                "content-type": "application/x-amz-json-1.1",
                "x-amz-target": f"RekognitionService.Op{number}",
                "x-spaces": f"  two  words {number} ",
            },
            "body": text(200),
            "credentials": {
                "keyId": "AKIDSTUB",
                "secret": text(40) or "x",
                "token": chance.choice([None, "a/token+with=signs"]),
                "region": chance.choice(["us-east-1", "eu-west-3", "anywhere"]),
            },
            "now": chance.randrange(1_000_000_000_000, 2_000_000_000_000),
        }


def test_the_browser_signs_as_botocore_does(page, stub):
    page.goto(stub.url)
    asked = list(requests(60))

    answers = page.evaluate(SIGN, asked)

    for request, headers in zip(asked, answers, strict=True):
        stated = dict(
            part.split("=", 1) for part in headers.pop("authorization").split(" ", 1)[1].split(", ")
        )
        host = request["url"].split("/")[2]
        signed = {**headers, "host": host}
        assert stated["SignedHeaders"] == ";".join(sorted(signed))
        assert ("x-amz-security-token" in signed) == (request["credentials"]["token"] is not None)
        assert stated["Signature"] == botocore_signature(
            "POST",
            request["url"],
            signed,
            request["body"].encode(),
            request["credentials"]["region"],
            request["credentials"]["secret"],
        )
