"""Three nodes over one PostgreSQL: written through one, read through another, while some die.

`RECOLLECT_TEST_CALLS` says how many calls the long run makes.
"""

import itertools
import os
import random
import threading
import time
from collections import Counter
from functools import cache

import pytest
from botocore.exceptions import ClientError

import cluster
from recollect import errors
from recollect.cli.client import Client, ServerUnreachable
from toys import picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

CALLS = int(os.environ.get("RECOLLECT_TEST_CALLS", "100000"))
PEOPLE = 40
CLIENTS = 4
ALIKE = 95
COLLECTION = "shared"


# What a repetition answers that finds its own work done already.
DONE_ALREADY = {
    "CreateCollection": "ResourceAlreadyExistsException",
    "DeleteCollection": "ResourceNotFoundException",
    "CreateUser": "ConflictException",
    "DeleteUser": "ResourceNotFoundException",
}
TRIES = 20
UNANSWERED = (
    errors.InternalServerError,
    errors.ThrottlingException,
    errors.RequestTimeoutException,
    # Signed before the machine was stopped for longer than a signature is valid.
    errors.InvalidSignatureException,
    ServerUnreachable,
)


@cache
def shown(person, side=40):
    """A small picture of a person."""
    return {"Bytes": picture(person, side=side, size=(120, 120))}


class Patient:
    """Our own client, which tries again what was not answered: a machine that is stopped for a
    while, as this one is while others measure, is no finding."""

    def __init__(self, url, key, tally):
        self.client = Client(url, *key, timeout_s=600)
        self.tally = tally

    def call(self, operation, **params):
        for attempt in range(TRIES):
            try:
                return self.client.call(operation, **params)
            except UNANSWERED:
                if attempt + 1 == TRIES:
                    raise
                self.tally["repeated"] += 1
                time.sleep(0.5)
            except errors.AnswerError as error:
                if attempt and type(error).__name__ == DONE_ALREADY.get(operation):
                    return {}
                raise
        raise AssertionError

    def close(self):
        self.client.close()


class Checker:
    """One client: changes people of its own through one node and looks for them through another.

    What it has been told is its oracle: a face that was acknowledged and is not found is stale,
    one that is found and was deleted before is a ghost.
    """

    def __init__(self, number, clients, tally):
        self.clients, self.tally = clients, tally
        self.random = random.Random(number)
        self.people = range(1 + number * PEOPLE, 1 + (number + 1) * PEOPLE)
        self.faces = {}
        self.users = {}
        self.own = f"own-{number}"
        self.version = itertools.count()

    def step(self):
        """Change something through one node, look for it through another one."""
        here, there = self.random.sample(self.clients, 2)
        person = self.random.choice(self.people)
        deed = self.random.choices(
            (self.enrol, self.forget, self.associate, self.recreate), (5, 4, 2, 1)
        )[0]
        deed(here, there, person)

    def call(self, client, operation, **params):
        self.tally["calls"] += 1
        return client.call(operation, **params)

    def enrol(self, here, there, person):
        answer = self.call(
            here,
            "IndexFaces",
            CollectionId=COLLECTION,
            # Another picture each time, or it would be known and enrolled once.
            Image=shown(person, 30 + next(self.version) % 60),
        )
        ids = {record["Face"]["FaceId"] for record in answer["FaceRecords"]}
        self.faces[person] = self.faces.get(person, set()) | ids
        self.look(there, person)

    def forget(self, here, there, person):
        faces = sorted(self.faces.get(person, ()))
        if not faces or person in self.users:
            self.look(there, person)
            return
        gone = faces[: self.random.randint(1, len(faces))]
        self.call(here, "DeleteFaces", CollectionId=COLLECTION, FaceIds=gone)
        self.faces[person] -= set(gone)
        self.look(there, person)

    def associate(self, here, there, person):
        if not self.faces.get(person):
            self.enrol(here, there, person)
        user = f"user-{person}"
        if person in self.users:
            self.call(here, "DeleteUser", CollectionId=COLLECTION, UserId=user)
            del self.users[person]
        else:
            self.call(here, "CreateUser", CollectionId=COLLECTION, UserId=user)
            faces = sorted(self.faces[person])[:100]
            self.call(here, "AssociateFaces", CollectionId=COLLECTION, UserId=user, FaceIds=faces)
            self.users[person] = user
        found = self.call(
            there,
            "SearchUsersByImage",
            CollectionId=COLLECTION,
            Image=shown(person),
            UserMatchThreshold=ALIKE,
        )
        users = {match["User"]["UserId"] for match in found["UserMatches"]}
        self.compare({user} if person in self.users else set(), users)

    def recreate(self, here, there, person):
        """A collection of its own, in which one face is enrolled and which is then deleted."""
        self.call(here, "CreateCollection", CollectionId=self.own)
        (record,) = self.call(there, "IndexFaces", CollectionId=self.own, Image=shown(person))[
            "FaceRecords"
        ]
        for client in (here, there):
            self.compare({record["Face"]["FaceId"]}, self.found(client, person, self.own))
        self.call(there, "DeleteCollection", CollectionId=self.own)
        try:
            self.found(here, person, self.own)
            self.tally["ghosts"] += 1
        except errors.ResourceNotFoundException:
            pass

    def look(self, client, person):
        self.compare(self.faces.get(person, set()), self.found(client, person, COLLECTION))

    def found(self, client, person, collection):
        answer = self.call(
            client,
            "SearchFacesByImage",
            CollectionId=collection,
            Image=shown(person),
            FaceMatchThreshold=ALIKE,
            MaxFaces=4096,
        )
        return {match["Face"]["FaceId"] for match in answer["FaceMatches"]}

    def compare(self, expected, found):
        self.tally["stale"] += len(expected - found)
        self.tally["ghosts"] += len(found - expected)


def interleaved(made, calls):
    """Let clients call all nodes at once; what they counted."""
    key = made.root["AccessKeyId"], made.root["SecretAccessKey"]
    with Client(made.nodes[0].url, *key) as first:
        first.call("CreateCollection", CollectionId=COLLECTION)
    tallies = [Counter() for _ in range(CLIENTS)]
    failures = []

    def work(number):
        clients = [Patient(node.url, key, tallies[number]) for node in made.nodes]
        checker = Checker(number, clients, tallies[number])
        try:
            while tallies[number]["calls"] < calls / CLIENTS and not failures:
                checker.step()
        except BaseException as error:
            failures.append(error)
        finally:
            for client in clients:
                client.close()

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    total = sum(tallies, Counter())
    print(
        f"{len(made.nodes)} nodes, {CLIENTS} clients: {total['calls']} interleaved calls in "
        f"{time.monotonic() - began:.0f} s, {total['stale']} stale, {total['ghosts']} ghosts, "
        f"{total['repeated']} calls repeated"
    )
    return total


def test_what_one_node_acknowledged_the_others_find(tmp_path):
    with cluster.running(tmp_path, [], [], []) as made:
        total = interleaved(made, CALLS)

    assert total["calls"] >= CALLS
    assert (total["stale"], total["ghosts"]) == (0, 0)


def test_a_node_that_answers_from_a_stale_index_is_noticed(tmp_path):
    with cluster.running(tmp_path, [], [], ["stale"]) as made:
        total = interleaved(made, 2000)

    assert total["stale"] + total["ghosts"] > 0


def test_clients_with_boto3s_own_retries_do_not_notice_that_nodes_die(tmp_path):
    """One of three nodes is killed every few seconds and started again, behind a balancer that
    knows nothing of what it forwards."""
    seconds, every_s = float(os.environ.get("RECOLLECT_TEST_SECONDS", "180")), 4.0
    with cluster.running(tmp_path, [], [], []) as made:
        balancer = cluster.Balancer(made.nodes)
        tally, uncured, stop = Counter(), [], threading.Event()
        made.boto3(balancer.url).create_collection(CollectionId=COLLECTION)

        def work(number):
            checker = Checker(number, [Retrying(made, balancer, tally, uncured)] * 2, tally)
            while not stop.is_set():
                checker.step()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
        try:
            for thread in threads:
                thread.start()
            end, kills = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                node = made.nodes[kills % 3]
                node.kill()
                kills += 1
                node.start()
                stop.wait(every_s)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            balancer.close()
    print(
        f"{kills} kills in {seconds:.0f} s, {tally['calls']} calls, {tally['retries']} attempts "
        f"repeated by boto3, {len(uncured)} errors left, {tally['stale']} stale, "
        f"{tally['ghosts']} ghosts"
    )
    assert kills > 5
    assert tally["retries"] > 0
    assert uncured == []
    assert (tally["stale"], tally["ghosts"]) == (0, 0)


METHODS = {
    "IndexFaces": "index_faces",
    "DeleteFaces": "delete_faces",
    "CreateUser": "create_user",
    "DeleteUser": "delete_user",
    "AssociateFaces": "associate_faces",
    "SearchUsersByImage": "search_users_by_image",
    "SearchFacesByImage": "search_faces_by_image",
    "CreateCollection": "create_collection",
    "DeleteCollection": "delete_collection",
}


class Retrying:
    """boto3 with its defaults, in the shape that `Checker` calls."""

    def __init__(self, made, balancer, tally, uncured):
        self.client = made.boto3(balancer.url)
        self.tally, self.uncured = tally, uncured

    def call(self, operation, **params):
        try:
            answer = getattr(self.client, METHODS[operation])(**params)
            self.tally["retries"] += answer["ResponseMetadata"]["RetryAttempts"]
            return answer
        except ClientError as error:
            code, more = error.response["Error"]["Code"], error.response["ResponseMetadata"]
            self.tally["retries"] += more["RetryAttempts"]
            if more["RetryAttempts"] and DONE_ALREADY.get(operation) == code:
                return {}
            if code == "ResourceNotFoundException" and operation.startswith("Search"):
                raise errors.ResourceNotFoundException(str(error)) from error
            self.uncured.append(error)
            raise
        except BaseException as error:
            self.uncured.append(error)
            raise


def test_postgresql_is_killed_and_started_and_no_node_is_restarted(tmp_path):
    rounds = 5
    with cluster.running(tmp_path, [], [], []) as made:
        pids = [node.process.pid for node in made.nodes]
        clients = [made.boto3(node.url, retries={"total_max_attempts": 1}) for node in made.nodes]
        clients[0].create_collection(CollectionId=COLLECTION)
        refused, slowest, healed = Counter(), 0.0, []
        enrolled = []
        for number in range(rounds):
            made.postgres.kill()
            for client, (method, params) in itertools.product(
                clients,
                (
                    ("search_faces_by_image", {"Image": {"Bytes": picture(1)}}),
                    ("index_faces", {"Image": {"Bytes": picture(1)}}),
                    ("list_faces", {}),
                ),
            ):
                began = time.monotonic()
                with pytest.raises(ClientError) as told:
                    getattr(client, method)(CollectionId=COLLECTION, **params)
                slowest = max(slowest, time.monotonic() - began)
                answer = told.value.response
                refused[answer["Error"]["Code"]] += 1
                assert answer["ResponseMetadata"]["HTTPStatusCode"] == 500
            made.postgres.start()
            back = time.monotonic()
            for client in clients:
                enrolled += client.index_faces(
                    CollectionId=COLLECTION, Image={"Bytes": picture(number, side=20 + number)}
                )["FaceRecords"]
            healed.append(time.monotonic() - back)
            for client in clients:
                found = client.search_faces_by_image(
                    CollectionId=COLLECTION, Image={"Bytes": picture(number)}
                )["FaceMatches"]
                assert {match["Face"]["FaceId"] for match in found} == {
                    record["Face"]["FaceId"]
                    for record in enrolled
                    if record["Face"]["ImageId"] == enrolled[-1]["Face"]["ImageId"]
                }
        assert [node.process.pid for node in made.nodes] == pids
        assert all(node.process.poll() is None for node in made.nodes)
    print(
        f"{rounds} kills of PostgreSQL: {dict(refused)}, slowest {slowest:.2f} s; the first writes "
        f"through all nodes after it was back took {max(healed):.2f} s at most"
    )
    assert set(refused) == {"InternalServerError"}
    assert slowest < 8
