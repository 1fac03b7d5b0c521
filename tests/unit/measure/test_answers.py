import pytest

from recollect.measure.answers import Answers, AnswersError


def refuse():
    raise AssertionError("asked again")


def test_an_answer_is_asked_for_once_and_found_by_the_next_run(tmp_path):
    path = tmp_path / "folder" / "answers.jsonl"
    with Answers(path) as answers:
        assert answers.get(["who", 1], lambda: {"score": 0.5}) == {"score": 0.5}
        assert answers.get(["who", 1], refuse) == {"score": 0.5}
        assert not answers.has(["who", 2])
    with Answers(path) as answers:
        assert answers.get(["who", 1], refuse) == {"score": 0.5}


def test_none_is_an_answer_too(tmp_path):
    with Answers(tmp_path / "answers.jsonl") as answers:
        assert answers.get(["face"], lambda: None) is None
        assert answers.get(["face"], refuse) is None


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_torn_by_a_stop_is_cut_off_and_asked_again(tmp_path, cut):
    path = tmp_path / "answers.jsonl"
    with Answers(path) as answers:
        answers.get(["first"], lambda: 1)
        answers.get(["second"], lambda: 2)
    path.write_bytes(path.read_bytes()[:-cut])
    with Answers(path) as answers:
        assert answers.get(["first"], refuse) == 1
        assert answers.get(["second"], lambda: 3) == 3
    with Answers(path) as answers:
        assert answers.get(["second"], refuse) == 3


def test_another_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("dear diary\n")
    with pytest.raises(AnswersError, match="holds no answers"):
        Answers(path)
    assert path.read_text() == "dear diary\n"
