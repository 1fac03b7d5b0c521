"""Collections, tags and keys, as every Store keeps them."""

import pytest

from enrolments import ACCOUNT, collection, enrolment, face_id, faces_of, templates_of
from recollect.errors import (
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
)
from recollect.gallery.store import AccessKey

OTHER = "210987654321"


def test_a_collection_is_found_by_account_and_name(store, clock):
    made = collection(store, "staff")

    assert store.collection(ACCOUNT, "staff") == made
    assert made.created_at == round(clock.now, 3)
    assert store.collection(ACCOUNT, "Staff") is None
    assert store.collection(OTHER, "staff") is None


def test_a_name_is_taken_once_in_an_account(store):
    collection(store, "staff")
    collection(store, "Staff")
    collection(store, "staff", OTHER)

    with pytest.raises(ResourceAlreadyExistsException) as refused:
        collection(store, "staff")

    assert str(refused.value) == "The collection id: staff already exists"


def test_collections_are_listed_by_name_in_pages(store):
    for name in ("b", "a", "c", "B"):
        collection(store, name)
    collection(store, "x", OTHER)

    first = store.collections(ACCOUNT, after="", limit=2)
    second = store.collections(ACCOUNT, after=first[-1].collection_id, limit=9)

    assert [c.collection_id for c in first + second] == ["B", "a", "b", "c"]
    assert {c.collection_id for c in store.every_collection()} == {"a", "b", "c", "B", "x"}


def test_two_collections_exchange_their_names_and_nothing_else(store):
    staff = collection(store, "staff", tags={"team": "red"})
    other = collection(store, "other", tags={"team": "blue"})
    store.add_faces(staff, [enrolment(1)])
    store.create_user(staff, "anna", None)

    store.swap_collections(staff, other)

    found = store.collection(ACCOUNT, "other")
    assert (found.key, found.created_at) == (staff.key, staff.created_at)
    assert store.collection(ACCOUNT, "staff").key == other.key
    assert store.counts(found) == (1, 1)
    assert store.tags(found) == {"team": "red"}
    assert [c.collection_id for c in store.collections(ACCOUNT, after="", limit=9)] == [
        "other",
        "staff",
    ]
    # Whoever looked the collection up before still reaches it.
    store.add_faces(staff, [enrolment(2)])
    assert store.counts(found) == (2, 1)

    store.swap_collections(store.collection(ACCOUNT, "staff"), found)
    assert store.collection(ACCOUNT, "staff").key == staff.key


def test_a_swap_with_a_collection_that_is_gone_changes_nothing(store):
    staff, other = collection(store, "staff"), collection(store, "other")
    store.delete_collection(other)

    for pair in ((staff, other), (other, staff)):
        with pytest.raises(ResourceNotFoundException):
            store.swap_collections(*pair)
    assert store.collection(ACCOUNT, "staff") == staff
    assert store.collection(ACCOUNT, "other") is None


def test_a_deleted_collection_is_gone_with_everything_in_it(store):
    staff = collection(store, tags={"team": "red"})
    store.add_faces(staff, [enrolment(1)])
    store.create_user(staff, "anna", None)

    store.delete_collection(staff)

    assert store.collection(ACCOUNT, "staff") is None
    for use in (
        lambda: store.delete_collection(staff),
        lambda: store.counts(staff),
        lambda: store.sequence(staff),
        lambda: store.add_faces(staff, [enrolment(2)]),
        lambda: faces_of(store, staff, [face_id(1)]),
        lambda: store.list_faces(staff, after="", limit=1),
        lambda: store.delete_faces(staff, [face_id(1)]),
        lambda: templates_of(store, staff, [face_id(1)]),
        lambda: store.create_user(staff, "ben", None),
        lambda: store.delete_user(staff, "anna", None),
        lambda: store.user(staff, "anna"),
        lambda: store.users(staff, [face_id(9)]),
        lambda: store.list_users(staff, after="", limit=1),
        lambda: store.user_template(staff, "anna"),
        lambda: store.associate_faces(staff, "anna", [face_id(1)], faces_max=9, once=None),
        lambda: store.disassociate_faces(staff, "anna", [face_id(1)], once=None),
        lambda: store.tags(staff),
        lambda: store.tag(staff, {"a": "b"}, tags_max=9),
        lambda: store.untag(staff, ["a"]),
        lambda: store.scan([staff]),
    ):
        with pytest.raises(ResourceNotFoundException) as refused:
            use()
        assert str(refused.value) == "The collection id: staff does not exist"


def test_a_new_collection_of_an_old_name_is_another_collection(store):
    old = collection(store)
    store.add_faces(old, [enrolment(1)])
    store.delete_collection(old)

    new = collection(store)

    assert new.key != old.key
    assert store.counts(new) == (0, 0)
    assert faces_of(store, new, [face_id(1)]) == {}
    with pytest.raises(ResourceNotFoundException):
        store.counts(old)
    assert store.add_faces(new, [enrolment(1)]) == [enrolment(1).face]


def test_collections_do_not_see_each_other(store):
    ours, theirs = collection(store), collection(store, account=OTHER)
    store.add_faces(ours, [enrolment(1)])
    store.create_user(ours, "anna", None)

    assert faces_of(store, theirs, [face_id(1)]) == {}
    assert templates_of(store, theirs, [face_id(1)]) == {}
    assert store.delete_faces(theirs, [face_id(1)]).not_found == (face_id(1),)
    assert store.user(theirs, "anna") is None
    assert store.counts(theirs) == (0, 0)
    assert store.counts(ours) == (1, 1)


def test_tags_are_added_overwritten_and_removed(store):
    staff = collection(store, tags={"a": "1", "b": "2"})

    store.tag(staff, {"b": "3", "c": "4"}, tags_max=3)
    store.untag(staff, ["a", "never there"])

    assert store.tags(staff) == {"b": "3", "c": "4"}


def test_too_many_tags_change_nothing(store):
    staff = collection(store, tags={"a": "1"})

    with pytest.raises(ServiceQuotaExceededException):
        store.tag(staff, {"a": "9", "b": "2", "c": "3"}, tags_max=2)

    assert store.tags(staff) == {"a": "1"}


KEY = AccessKey(
    key_id="ASIA1",
    secret="s3cr3t",
    account=ACCOUNT,
    name="searcher",
    policies=('{"a": 1}', '{"b": 2}'),
    bearer=True,
    session_token="t0k3n",
    expires_at=1e9,
    created_at=5.0,
)


def test_an_access_key_is_kept_whole(store):
    store.add_key(KEY)

    assert store.access_key("ASIA1") == KEY
    assert store.access_key("asia1") is None


def test_listed_keys_carry_no_secret(store):
    store.add_key(KEY)

    (listed,) = store.access_keys()

    assert (listed.key_id, listed.secret, listed.session_token) == ("ASIA1", "", None)
    assert store.access_keys(ACCOUNT) == [listed]
    assert store.access_keys(OTHER) == []


def test_a_key_is_disabled_re_equipped_and_deleted(store):
    store.add_key(KEY)

    store.update_key("ASIA1", active=False)
    store.update_key("ASIA1", policies=["{}"])
    changed = store.access_key("ASIA1")
    store.update_key("ASIA1", active=True, policies=[])
    equipped = store.access_key("ASIA1")
    store.delete_key("ASIA1")

    assert (changed.active, changed.policies, changed.secret) == (False, ("{}",), "s3cr3t")
    assert (equipped.active, equipped.policies) == (True, ())
    assert store.access_key("ASIA1") is None
    with pytest.raises(ResourceNotFoundException):
        store.update_key("ASIA1", active=True)
    with pytest.raises(ResourceNotFoundException):
        store.delete_key("ASIA1")
