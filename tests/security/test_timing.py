"""What the time of a refusal tells: not whether a key, a collection or another tenant exists.

Welch's t of two samples taken in turns, in an order of chance, the slowest 1 % of both cut off at
one bound (pauses of the machine); below 4.5 the two cannot be told apart from as many tries.
"""

import gc
import json
import random
import time
from dataclasses import replace

import numpy as np
import pytest

from recollect import app, truth
from recollect.errors import AnswerError
from recollect.settings import Settings
from recollect.wire import access, bearer, sigv4
from recollect.wire.caller import HttpRequest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SAMPLES, T_MAX = 50_000, 4.5
ACCOUNT = "123456789012"


def welch(one, other, samples=SAMPLES):
    """t, and the difference of the means in microseconds."""
    calls, chance = (one, other), random.Random(7)
    order = np.array([chance.getrandbits(1) for _ in range(2 * samples)])
    taken = np.empty(len(order))
    gc.collect()
    gc.disable()
    try:
        for call in calls * 200:
            call()
        for at, which in enumerate(order):
            call = calls[which]
            began = time.perf_counter_ns()
            call()
            taken[at] = time.perf_counter_ns() - began
    finally:
        gc.enable()
    kept = taken <= np.quantile(taken, 0.99)
    a, b = (taken[kept & (order == which)] for which in (0, 1))
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return (a.mean() - b.mean()) / error, (a.mean() - b.mean()) / 1000


def refused(call):
    """The call as one that has to be refused, and does nothing else."""

    def refuse():
        try:
            call()
        except AnswerError:
            return
        raise AssertionError("it was allowed")

    return refuse


def judge(what, one, other):
    t, difference_us = welch(refused(one), refused(other))
    print(f"{what}: t = {t:+.2f}, {difference_us:+.3f} us, {2 * SAMPLES:,} calls")
    assert abs(t) < T_MAX


@pytest.fixture(scope="module")
def identify(tmp_path_factory):
    """Who is calling, by the keys of a real store with 100 of them; and two of those."""
    settings = Settings(data=tmp_path_factory.mktemp("timing") / "data", account=ACCOUNT)
    store = truth.open_store(settings)
    made = [
        truth.make_key(
            store, account=ACCOUNT, name=f"u{n}", policies=(truth.ROOT_POLICY,), bearer_key=n == 50
        )
        for n in range(100)
    ]
    yield app._identify(settings, store), made[49], made[50], store
    store.close()


def signed(key_id, secret):
    headers = {"host": "h", "x-amz-target": "RekognitionService.ListCollections"}
    sent = sigv4.sign(
        "POST", "/", headers, b"{}", key_id=key_id, secret=secret, region="x", now=time.time()
    )
    return HttpRequest("POST", "/", "", tuple(sent.items()), b"{}", "192.0.2.1", secure=False)


def with_token(key_id, secret):
    token = f"Bearer {bearer.token(key_id, secret)}"
    return HttpRequest("POST", "/", "", (("authorization", token),), b"", "192.0.2.1", secure=False)


def unknown(key_id):
    """A key id that there is not, of the same form."""
    return key_id[:-1] + ("0" if key_id[-1] != "0" else "1")


def test_an_unknown_key_takes_as_long_as_a_wrong_secret(identify):
    who, key, _, _ = identify
    wrong = signed(key.key_id, "w" * 40)
    nobody = signed(unknown(key.key_id), "w" * 40)

    judge("unknown key, wrong secret", lambda: who(nobody), lambda: who(wrong))


def test_an_unknown_bearer_key_takes_as_long_as_a_wrong_secret(identify):
    who, _, key, _ = identify
    wrong = with_token(key.key_id, "w" * 40)
    nobody = with_token(unknown(key.key_id), "w" * 40)

    judge("unknown bearer key, wrong secret", lambda: who(nobody), lambda: who(wrong))


@pytest.mark.parametrize(
    "condition", [None, {"StringEquals": {"aws:ResourceTag/team": "events"}}], ids=["plain", "tags"]
)
def test_a_forbidden_caller_cannot_time_whether_a_collection_exists(identify, condition):
    who, _, _, store = identify
    name = f"there-{condition is None}"
    store.create_collection(
        ACCOUNT, name, pack="p", model_version="4.0", dimension=8, tags={"team": "doors"}
    )
    statement = {"Effect": "Allow", "Action": "rekognition:*", "Resource": "*"}
    if condition:
        statement["Condition"] = condition
    else:
        statement["Resource"] = f"arn:aws:rekognition:*:{ACCOUNT}:collection/mine"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    caller = replace(anybody(who, identify), policies=(policy,))

    def ask(collection_id):
        access.authorise(
            caller,
            "DescribeCollection",
            {"CollectionId": collection_id},
            tags_of=store.tags_of,
            now=1.8e9,
        )

    unlike = name[:-1] + "?"
    judge(
        f"a collection that exists or not, {'by tag' if condition else 'by name'}",
        lambda: ask(name),
        lambda: ask(unlike),
    )


def test_nobody_can_time_whether_another_tenant_has_a_collection(identify):
    who, _, _, store = identify
    store.create_collection("9" * 12, "theirs", pack="p", model_version="4.0", dimension=8, tags={})
    caller = anybody(who, identify)

    def ask(name):
        arn = f"arn:aws:rekognition:x:{'9' * 12}:collection/{name}"
        access.authorise(
            caller, "TagResource", {"ResourceArn": arn}, tags_of=store.tags_of, now=1.8e9
        )

    judge("another tenant's collection or none", lambda: ask("theirs"), lambda: ask("theirz"))


def test_the_method_finds_a_tenth_of_a_microsecond(identify):
    """The control: the same call, and the same with a little work more."""
    who, key, _, _ = identify
    wrong = signed(key.key_id, "w" * 40)

    def longer():
        sum(range(300))
        return who(wrong)

    t, difference_us = welch(refused(longer), refused(lambda: who(wrong)))
    print(f"control: t = {t:+.2f}, {difference_us:+.3f} us")
    assert t > T_MAX


def anybody(who, identify):
    key = identify[1]
    return who(signed(key.key_id, key.secret))
