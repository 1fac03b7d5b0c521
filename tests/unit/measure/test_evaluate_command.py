"""`recollect evaluate` on drawn people, through a real server with the toy pack."""

import re

import pytest

import drawn_people
from recollect.cli import measure
from recollect.cli.client import Client
from recollect.measure import data
from recollect.measure.answers import Answers
from recollect.measure.evaluation import evaluate
from recollect.measure.figures import Reckoning
from recollect.measure.server import Server, SubjectError


def quiet(items, _title, _count):
    return items


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    drawn = tmp_path_factory.mktemp("drawn")
    return drawn_people.draw(drawn, faceless=("toys/person03/1.png", "toys/person08/0.png"))


@pytest.fixture
def client(server):
    root = server.root
    with Client(server.url, root["AccessKeyId"], root["SecretAccessKey"]) as client:
        yield client


def run(folder, answers, call):
    subject = Server(call, answers, version="1", track=quiet)
    result = evaluate(data.read(folder), subject, Reckoning(20, 7, quiet), quiet)
    return subject, result


class Counting:
    """A client's `call` that counts, and stops the run after so many calls."""

    def __init__(self, client, calls_max=None):
        self.client, self.calls_max = client, calls_max
        self.operations = []

    def __call__(self, operation, **params):
        if len(self.operations) == self.calls_max:
            raise KeyboardInterrupt
        self.operations.append(operation)
        return self.client.call(operation, **params)


@pytest.fixture(scope="module")
def document(folder, server, tmp_path_factory):
    """The figures of a run from beginning to end."""
    root = server.root
    path = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    with Client(server.url, root["AccessKeyId"], root["SecretAccessKey"]) as client:
        with Answers(path) as answers:
            subject, result = run(folder, answers, client.call)
            subject.close()
        assert client.call("ListCollections")["CollectionIds"] == []
    return result.document


def test_drawn_people_are_told_apart_and_missing_faces_are_errors(document):
    assert document["detection"] == [
        {"set": "toys", "pictures": 27, "found": 25, "covers_middle": 0}
    ]
    # Nine people, three pictures: 27 mated pairs, two of each faceless picture are lost.
    (pairs, everything) = document["verification"]
    assert (everything["mated"], everything["mated_missing"]) == (27, 4)
    assert everything["nonmated"] == 25 * 24 // 2 - 23
    assert everything["figures"]["FNMR at Similarity 80"]["value"] == pytest.approx(4 / 27)
    assert everything["figures"]["FMR at Similarity 80"]["value"] == 0
    assert (pairs["mated"], pairs["nonmated"]) == (9, 7)

    turns, search, left_out = document["identification"]
    # A faceless photograph is never found; its person's other two lose it in every other choice.
    assert (turns["N"], turns["mated"]) == (9, 27)
    assert turns["figures"]["rank-1"]["value"] == pytest.approx((21 + 4 / 2) / 27)
    assert (search["N"], search["mated"], search["nonmated"]) == (6, 12, 2)
    assert search["figures"]["rank-1"]["value"] == 11 / 12
    assert search["figures"]["FPIR at Similarity 80"]["value"] == 0
    assert left_out["nonmated"] == 13

    assert document["noface"] == {"pictures": 1, "with_a_face": 0, "which": []}
    variants = document["variants"]
    assert (variants["not_hard"], variants["count_right"], variants["person_found"]) == (2, 2, 2)
    assert (variants["upright"], variants["upright_expected"]) == (1, 1)
    assert [row["found"] for row in variants["rows"]] == [1, 1, 2]
    assert {group["title"] for group in document["groups"]} == {
        "toys, female",
        "toys, male",
        "toys, drawn",
        "toys, female drawn",
        "toys, male drawn",
    }


@pytest.mark.parametrize("calls", [5, 35, 65])
def test_a_run_that_was_stopped_goes_on_where_it_was(folder, client, tmp_path, document, calls):
    path = tmp_path / "answers.jsonl"
    stopped = Counting(client, calls)
    with Answers(path) as answers, pytest.raises(KeyboardInterrupt):
        run(folder, answers, stopped)
    going_on = Counting(client)
    with Answers(path) as answers:
        subject, result = run(folder, answers, going_on)
        subject.close()
    assert result.document == document
    images = [name for name in stopped.operations + going_on.operations if "Index" in name]
    # 27 compared, 6 of a gallery, 1 plain picture: none of them twice but the faceless ones.
    assert len(images) <= 34 + 3


def test_a_run_whose_collections_are_gone_enrols_them_again(folder, client, tmp_path, document):
    path = tmp_path / "answers.jsonl"
    with Answers(path) as answers, pytest.raises(KeyboardInterrupt):
        run(folder, answers, Counting(client, 35))
    for collection in client.call("ListCollections")["CollectionIds"]:
        client.call("DeleteCollection", CollectionId=collection)
    with Answers(path) as answers:
        subject, again = run(folder, answers, client.call)
        subject.close()
    assert again.document == document


def test_a_search_that_hides_faces_is_no_measurement(folder, client, tmp_path):
    def hiding(operation, **params):
        answer = client.call(operation, **params)
        if operation == "SearchFaces":
            answer["FaceMatches"] = answer["FaceMatches"][1:]
        return answer

    with (
        Answers(tmp_path / "answers.jsonl") as answers,
        pytest.raises(SubjectError, match="answered 23 of 24 faces"),
    ):
        run(folder, answers, hiding)
    for collection in client.call("ListCollections")["CollectionIds"]:
        client.call("DeleteCollection", CollectionId=collection)


def test_a_refused_picture_is_listed_and_counts_as_missing(folder, client, tmp_path):
    broken = drawn_people.draw(tmp_path / "drawn")
    (broken / "toys/person00/0.png").write_bytes(b"no picture at all")
    with Answers(tmp_path / "answers.jsonl") as answers:
        subject, result = run(broken, answers, client.call)
        subject.close()
    assert "InvalidImageFormatException" in subject.refusals["toys/person00/0.png"]
    assert result.document["detection"][0]["found"] == 26
    with Answers(tmp_path / "answers.jsonl") as answers:
        subject, _ = run(broken, answers, client.call)
        subject.close()
    assert list(subject.refusals) == ["toys/person00/0.png"]


def test_the_command_writes_the_same_report_twice(folder, server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.root["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.root["SecretAccessKey"])

    def written(name):
        out = tmp_path / name
        measure.evaluate(folder, url=server.url, out=out, resamples=5, as_json=True)
        return [(out / file).read_bytes() for file in ("figures.json", "report.html")]

    figures, html = written("one")
    assert [figures, html] == written("two")
    assert figures.decode() in capsys.readouterr().out
    page = html.decode()
    assert "data:image/svg+xml;base64," in page
    assert not re.search(r"(src|href)=['\"]?(http|//)", page)
    assert "<script" not in page
