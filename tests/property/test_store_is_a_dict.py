"""Whatever is done to it, in whatever order, the store is the dictionary."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dict_store import DictStore
from enrolments import Clock, Ids, enrolment, face_id, faces_of, scanned, sqlite_store
from recollect.errors import AnswerError
from recollect.gallery.store import KINDS, Once

ACCOUNTS = ("111111111111", "222222222222")
names = st.sampled_from(["a", "b"])
accounts = st.sampled_from(ACCOUNTS)
numbers = st.integers(0, 7)
some_numbers = st.lists(numbers, min_size=1, max_size=4, unique=True)
people = st.sampled_from(["anna", "ben"])
tokens = st.sampled_from([None, "t1", "t2"])
tag_names = st.sampled_from(["x", "y", "z"])


class StoreIsADict(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock, self.ids = Clock(), Ids()
        self.model = DictStore(clock=self.clock, ids=Ids())
        self.real = sqlite_store(self.folder, clock=self.clock, ids=self.ids)
        self.published = ([], [])
        self.subscribe()

    def subscribe(self):
        self.model.subscribers.clear()
        self.model.subscribe(self.published[0].append)
        self.real.subscribe(self.published[1].append)

    def teardown(self):
        self.real.close()
        shutil.rmtree(self.folder)

    def both(self, act):
        """Do the same to both, and get the same from both."""
        assert outcome(act, self.model) == outcome(act, self.real)

    def on(self, account, name, act):
        """Do the same to both in a collection that both know, or both do not."""
        found = self.model.collection(account, name), self.real.collection(account, name)
        assert (found[0] is None) == (found[1] is None)
        if found[0] is not None:
            self.both(lambda store: act(store, found[store is self.real]))

    @rule(account=accounts, name=names)
    def create_collection(self, account, name):
        def act(store):
            made = store.create_collection(
                account, name, pack="toy", model_version="4.0", dimension=8, tags={"x": name}
            )
            return made.created_at

        self.both(act)

    @rule(account=accounts, name=names)
    def delete_collection(self, account, name):
        self.on(account, name, lambda store, c: store.delete_collection(c))

    @rule(account=accounts)
    def swap_collections(self, account):
        pairs = [
            [store.collection(account, name) for name in ("a", "b")]
            for store in (self.model, self.real)
        ]
        if None not in pairs[0]:
            self.both(lambda store: store.swap_collections(*pairs[store is self.real]))

    @rule(account=accounts, name=names, chosen=some_numbers, image=st.integers(0, 1))
    def add_faces(self, account, name, chosen, image):
        # Two faces of a picture share a box where their numbers are alike modulo 3.
        faces = [
            enrolment(n, image=image * 10 + n // 4, box=(n % 3 / 7, 0.1, 0.2, 0.3), weight=1 + n)
            for n in chosen
        ]

        def act(store, c):
            known = set(faces_of(store, c, [face_id(n) for n in chosen]))
            return store.add_faces(c, [f for f in faces if f.face.face_id not in known])

        self.on(account, name, act)

    @rule(account=accounts, name=names, chosen=some_numbers)
    def delete_faces(self, account, name, chosen):
        ids = [face_id(n) for n in chosen]
        self.on(account, name, lambda store, c: store.delete_faces(c, ids))

    @rule(account=accounts, name=names, user=people, token=tokens)
    def create_user(self, account, name, user, token):
        once = token and Once(token, "CreateUser", user.encode())
        self.on(account, name, lambda store, c: store.create_user(c, user, once))

    @rule(account=accounts, name=names, user=people, token=tokens)
    def delete_user(self, account, name, user, token):
        once = token and Once(token, "DeleteUser", user.encode())
        self.on(account, name, lambda store, c: store.delete_user(c, user, once))

    @rule(
        account=accounts, name=names, user=people, chosen=some_numbers, token=tokens,
        picky=st.booleans(),
    )  # fmt: skip
    def associate_faces(self, account, name, user, chosen, token, picky):
        ids = [face_id(n) for n in chosen]
        once = token and Once(token, "AssociateFaces", f"{user}{ids}{picky}".encode())

        def accepts(aggregate, template):
            return not picky or float(aggregate @ template) > 0

        self.on(
            account,
            name,
            lambda store, c: store.associate_faces(
                c, user, ids, faces_max=3, once=once, accepts=accepts
            ),
        )

    @rule(account=accounts, name=names, user=people, chosen=some_numbers, token=tokens)
    def disassociate_faces(self, account, name, user, chosen, token):
        ids = [face_id(n) for n in chosen]
        once = token and Once(token, "DisassociateFaces", f"{user}{ids}".encode())
        self.on(account, name, lambda store, c: store.disassociate_faces(c, user, ids, once=once))

    @rule(account=accounts, name=names, tag=tag_names, value=names)
    def tag(self, account, name, tag, value):
        self.on(account, name, lambda store, c: store.tag(c, {tag: value}, tags_max=2))

    @rule(account=accounts, name=names, tag=tag_names)
    def untag(self, account, name, tag):
        self.on(account, name, lambda store, c: store.untag(c, [tag]))

    @rule(hours=st.sampled_from([1, 23, 25]))
    def time_passes(self, hours):
        self.clock.now += hours * 3600

    @rule()
    def tend(self):
        self.real.tend()
        self.real.carry()

    @rule()
    def reopen(self):
        self.real.close()
        self.real = sqlite_store(self.folder, clock=self.clock, ids=self.ids)
        self.subscribe()

    @invariant()
    def they_agree(self):
        for account in ACCOUNTS:
            self.both(
                lambda store, account=account: [
                    c.collection_id for c in store.collections(account, after="", limit=9)
                ]
            )
            for name in ("a", "b"):
                self.on(account, name, everything)

    @invariant()
    def they_published_the_same(self):
        model, real = ([plain_change(change) for change in seen] for seen in self.published)
        assert model == real
        self.published[0].clear()
        self.published[1].clear()


def everything(store, c):
    """All that can be read of a collection."""
    faces = store.list_faces(c, after="", limit=99)
    users = store.list_users(c, after="", limit=99)
    (sequence,), blocks = store.scan([c])
    blocks.close()
    return (
        store.counts(c),
        sequence,
        store.sequence(c),
        c.sequence,
        faces,
        users,
        store.tags(c),
        [store.list_faces(c, after="", limit=2, user_id=user.user_id) for user in users],
        [plain(store.user_template(c, user.user_id)) for user in users],
        [sorted((i, plain(row)) for i, row in scanned(store, c, kind)) for kind in KINDS],
    )


def plain(template):
    """Equal for templates that are equal to the last bit but one."""
    return None if template is None else [round(float(x), 5) + 0.0 for x in template]


def plain_change(change):
    return (
        change.collection.collection_id,
        change.sequence,
        [(i, plain(t)) for i, t in change.faces_added],
        list(change.faces_removed),
        [(i, plain(t)) for i, t in change.users_added],
        list(change.users_removed),
        change.dropped,
    )


def outcome(act, store):
    """What came of it: the answer, or the error's name and text."""
    try:
        answer = act(store)
    except AnswerError as error:
        return type(error).__name__, str(error)
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict):
        association, refused = answer
        return association, {i: round(score, 5) for i, score in refused.items()}
    return answer


TestStoreIsADict = StoreIsADict.TestCase
TestStoreIsADict.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
