"""Users and who owns which face, as every Store keeps them."""

import numpy as np
import pytest

from enrolments import collection, enrolment, face_id, faces_of, scanned, template
from recollect.errors import (
    ConflictException,
    IdempotentParameterMismatchException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
)
from recollect.gallery.store import Association, Once

NOBODY = "ffffffff-ffff-4fff-bfff-ffffffffffff"
DAY_S = 24 * 3600


@pytest.fixture
def staff(store):
    made = collection(store)
    store.add_faces(made, [enrolment(n, weight=1.0 + n) for n in range(5)])
    store.create_user(made, "anna", None)
    store.create_user(made, "ben", None)
    return made


def associate(store, staff, user_id, *numbers, faces_max=100, once=None, accepts=None):
    return store.associate_faces(
        staff,
        user_id,
        [face_id(n) for n in numbers],
        faces_max=faces_max,
        once=once,
        accepts=accepts,
    )


def mean(*numbers):
    """The weighted mean of numbered templates at unit length."""
    total = sum((1.0 + n) * template(n).astype(np.float64) for n in numbers)
    return total / np.linalg.norm(total)


def test_a_user_is_made_once(store, staff):
    user = store.user(staff, "anna")

    assert (user.user_id, user.face_count) == ("anna", 0)
    assert store.user(staff, "Anna") is None
    assert store.counts(staff) == (5, 2)
    with pytest.raises(ConflictException) as refused:
        store.create_user(staff, "anna", None)
    assert str(refused.value) == "The user id: anna already exists"


def test_a_user_without_faces_has_no_template(store, staff):
    assert store.user_template(staff, "anna") is None
    assert store.user_template(staff, "nobody") is None
    assert scanned(store, staff, "users") == []


def test_users_are_listed_by_key_in_pages(store, staff):
    for name in ("cleo", "dora", "emil"):
        store.create_user(staff, name, None)

    first = store.list_users(staff, after="", limit=2)
    rest = store.list_users(staff, after=first[-1].key, limit=9)

    keys = [user.key for user in first + rest]
    assert keys == sorted(keys)
    assert {user.user_id for user in first + rest} == {"anna", "ben", "cleo", "dora", "emil"}
    assert store.users(staff, [keys[0], NOBODY, "odd"]) == {keys[0]: first[0]}


def test_association_says_what_became_of_each_face(store, staff):
    associate(store, staff, "ben", 3)
    associate(store, staff, "anna", 0)

    asked = [face_id(0), face_id(1), NOBODY, face_id(3), face_id(2)]
    answer, refused = store.associate_faces(staff, "anna", asked, faces_max=9, once=None)

    assert answer == Association(
        done=(face_id(1), face_id(2)),
        not_found=(NOBODY,),
        owned_by={face_id(3): "ben"},
        face_count=3,
    )
    assert refused == {}
    assert store.user(staff, "anna").face_count == 3
    assert faces_of(store, staff, [face_id(1)])[face_id(1)].user_id == "anna"


def test_a_users_template_is_the_weighted_mean_of_its_faces(store, staff):
    associate(store, staff, "anna", 1)
    associate(store, staff, "anna", 4, 2)

    found = store.user_template(staff, "anna")

    assert found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1)
    assert np.allclose(found, mean(1, 2, 4), atol=1e-6)
    ((key, template),) = scanned(store, staff, "users")
    assert key == store.user(staff, "anna").key
    assert np.array_equal(template, found)


def test_the_order_of_association_does_not_change_a_bit(store, staff):
    associate(store, staff, "anna", 1, 2, 3)
    one_way = store.user_template(staff, "anna")
    store.disassociate_faces(staff, "anna", [face_id(n) for n in (1, 2, 3)], once=None)
    for n in (3, 1, 2):
        associate(store, staff, "anna", n)

    assert np.array_equal(store.user_template(staff, "anna"), one_way)


def test_templates_that_cancel_out_still_give_one_of_unit_length(store):
    staff = collection(store)
    ahead = enrolment(1)
    behind = enrolment(2)
    behind.template[:] = -ahead.template
    store.add_faces(staff, [ahead, behind])
    store.create_user(staff, "anna", None)

    associate(store, staff, "anna", 1, 2)

    first = ahead if face_id(1) < face_id(2) else behind
    assert np.array_equal(store.user_template(staff, "anna"), first.template)


def test_a_face_that_does_not_resemble_the_user_is_refused_with_its_score(store, staff):
    associate(store, staff, "anna", 0)
    before = store.user_template(staff, "anna")
    asked = []

    def accepts(aggregate, candidate):
        asked.append((aggregate, candidate))
        return not np.array_equal(candidate, template(2))

    answer, refused = associate(store, staff, "anna", 1, 2, accepts=accepts)

    assert answer.done == (face_id(1),)
    assert refused == {face_id(2): pytest.approx(float(before @ template(2)))}
    assert all(np.array_equal(aggregate, before) for aggregate, _ in asked)
    assert len(asked) == 2


def test_the_first_faces_of_a_user_are_not_compared(store, staff):
    answer, refused = associate(store, staff, "anna", 1, 2, accepts=lambda *_: False)

    assert (answer.done, refused) == ((face_id(1), face_id(2)), {})


def test_too_many_faces_for_a_user_change_nothing(store, staff):
    associate(store, staff, "anna", 0, faces_max=2)
    before = store.sequence(staff)

    with pytest.raises(ServiceQuotaExceededException) as refused:
        associate(store, staff, "anna", 1, 2, faces_max=2)

    assert str(refused.value) == "The user id: anna can have at most 2 faces"
    assert store.user(staff, "anna").face_count == 1
    assert store.sequence(staff) == before
    assert associate(store, staff, "anna", 1, faces_max=2)[0].face_count == 2


def test_disassociation_says_what_became_of_each_face(store, staff):
    associate(store, staff, "anna", 0, 1)
    associate(store, staff, "ben", 2)

    asked = [face_id(0), face_id(2), face_id(3), NOBODY]
    answer = store.disassociate_faces(staff, "anna", asked, once=None)

    assert answer == Association(
        done=(face_id(0),), not_found=(NOBODY,), owned_by={face_id(2): "ben"}, face_count=1
    )
    assert np.allclose(store.user_template(staff, "anna"), template(1), atol=1e-6)


def test_a_user_that_lost_its_last_face_cannot_be_found(store, staff):
    associate(store, staff, "anna", 0)

    store.disassociate_faces(staff, "anna", [face_id(0)], once=None)

    assert store.user_template(staff, "anna") is None
    assert scanned(store, staff, "users") == []


def test_a_deleted_users_faces_stay_and_belong_to_nobody(store, staff):
    associate(store, staff, "anna", 0, 1)

    store.delete_user(staff, "anna", None)

    assert store.user(staff, "anna") is None
    assert store.counts(staff) == (5, 1)
    assert faces_of(store, staff, [face_id(0)])[face_id(0)].user_id is None
    assert associate(store, staff, "ben", 0)[0].done == (face_id(0),)
    for use in (
        lambda: store.delete_user(staff, "anna", None),
        lambda: associate(store, staff, "anna", 1),
        lambda: store.disassociate_faces(staff, "anna", [face_id(1)], once=None),
    ):
        with pytest.raises(ResourceNotFoundException) as refused:
            use()
        assert str(refused.value) == "The user id: anna does not exist"


def test_the_index_hears_of_users_that_have_faces(store, staff):
    seen = []
    store.subscribe(seen.append)

    store.create_user(staff, "cleo", None)
    store.delete_user(staff, "cleo", None)
    associate(store, staff, "anna", 0)
    associate(store, staff, "anna", 1)
    store.disassociate_faces(staff, "anna", [face_id(0)], once=None)
    store.disassociate_faces(staff, "anna", [face_id(1)], once=None)
    associate(store, staff, "ben", 2)
    store.delete_user(staff, "ben", None)

    anna = store.user(staff, "anna").key
    assert [[key for key, _ in change.users_added] for change in seen[:3]] == [[anna]] * 3
    assert np.allclose(seen[1].users_added[0][1], mean(0, 1), atol=1e-6)
    assert list(seen[3].users_removed) == [anna]
    assert list(seen[5].users_removed) == [seen[4].users_added[0][0]]
    assert [change.sequence for change in seen] == [2, 3, 4, 5, 6, 7]


def test_a_repeated_token_has_the_first_answer_and_no_second_effect(store, staff):
    create = Once("t1", "CreateUser", b"cleo")
    store.create_user(staff, "cleo", create)
    store.create_user(staff, "cleo", create)

    give = Once("t1", "AssociateFaces", b"0 1")
    first = associate(store, staff, "cleo", 0, 1, once=give)
    store.disassociate_faces(staff, "cleo", [face_id(0)], once=Once("t1", "Dis", b"0"))
    again = associate(store, staff, "cleo", 0, 1, once=give)
    taken = store.disassociate_faces(staff, "cleo", [face_id(0)], once=Once("t1", "Dis", b"0"))

    assert first == again
    assert (taken.done, taken.face_count) == ((face_id(0),), 1)
    assert store.user(staff, "cleo").face_count == 1

    delete = Once("t1", "DeleteUser", b"cleo")
    store.delete_user(staff, "cleo", delete)
    store.delete_user(staff, "cleo", delete)
    assert store.user(staff, "cleo") is None


def test_a_token_with_other_parameters_is_a_mismatch(store, staff):
    store.create_user(staff, "cleo", Once("t1", "CreateUser", b"cleo"))

    with pytest.raises(IdempotentParameterMismatchException) as refused:
        store.create_user(staff, "dora", Once("t1", "CreateUser", b"dora"))

    assert str(refused.value) == ("The ClientRequestToken: t1 you have supplied is already in use")
    assert store.user(staff, "dora") is None


def test_a_call_that_failed_leaves_its_token_free(store, staff):
    once = Once("t1", "CreateUser", b"anna")
    with pytest.raises(ConflictException):
        store.create_user(staff, "anna", once)
    store.delete_user(staff, "anna", None)

    store.create_user(staff, "anna", once)

    assert store.user(staff, "anna") is not None


def test_a_token_is_forgotten_after_a_day(store, staff, clock):
    once = Once("t1", "CreateUser", b"cleo")
    store.create_user(staff, "cleo", once)
    store.delete_user(staff, "cleo", None)

    clock.now += DAY_S - 1
    store.create_user(staff, "cleo", once)
    assert store.user(staff, "cleo") is None

    clock.now += 2
    store.create_user(staff, "cleo", Once("t1", "CreateUser", b"other"))
    assert store.user(staff, "cleo") is not None


def test_tokens_of_two_collections_do_not_meet(store, staff):
    other = collection(store, "visitors")
    store.create_user(staff, "cleo", Once("t1", "CreateUser", b"a"))

    store.create_user(other, "cleo", Once("t1", "CreateUser", b"b"))

    assert store.user(other, "cleo") is not None
