-- The truth of a server: collections, faces, users, tags, keys and the audit log.

CREATE TABLE collection (
  key INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so that rows of a deleted one stay apart
  uid BLOB NOT NULL UNIQUE, -- 16 random bytes: its key in the keyring and its erasures are under it
  account TEXT NOT NULL,
  collection_id TEXT NOT NULL,
  pack TEXT NOT NULL,
  model_version TEXT NOT NULL,
  dimension INTEGER NOT NULL,
  created_at REAL NOT NULL,
  sequence INTEGER NOT NULL DEFAULT 0, -- of its last change
  face_count INTEGER NOT NULL DEFAULT 0,
  user_count INTEGER NOT NULL DEFAULT 0,
  row_count INTEGER NOT NULL DEFAULT 0, -- rows ever made for it, in face and user
  UNIQUE (account, collection_id)
) STRICT;

-- Deleted collections whose rows are still being erased, a slice at a time.
CREATE TABLE doomed (collection INTEGER PRIMARY KEY, uid BLOB NOT NULL) STRICT;

-- row = collection << 36 | running number: the faces of a collection lie together and in the order
-- in which they came, so that reading them all is one pass and adding some is an append.
CREATE TABLE face (
  row INTEGER PRIMARY KEY,
  collection INTEGER NOT NULL,
  id BLOB NOT NULL,
  image_id BLOB NOT NULL,
  external_image_id TEXT,
  box_left REAL NOT NULL,
  box_top REAL NOT NULL,
  box_width REAL NOT NULL,
  box_height REAL NOT NULL,
  confidence REAL NOT NULL,
  model_version TEXT NOT NULL,
  weight REAL NOT NULL,
  enrolled_at INTEGER NOT NULL,
  user INTEGER, -- row of the user it belongs to
  sealed BLOB NOT NULL -- template
) STRICT;

CREATE UNIQUE INDEX face_id ON face (collection, id);
CREATE INDEX face_image ON face (collection, image_id);
CREATE INDEX face_user ON face (user, id) WHERE user IS NOT NULL;

CREATE TABLE user (
  row INTEGER PRIMARY KEY, -- as in face
  collection INTEGER NOT NULL,
  key BLOB NOT NULL,
  user_id TEXT NOT NULL,
  face_count INTEGER NOT NULL DEFAULT 0,
  sealed BLOB, -- aggregate template; none without faces
  UNIQUE (collection, user_id),
  UNIQUE (collection, key)
) STRICT;

CREATE TABLE tag (
  collection INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (collection, name)
) STRICT, WITHOUT ROWID;

-- Answers to calls that carried a ClientRequestToken, kept for a day.
CREATE TABLE once (
  collection INTEGER NOT NULL,
  operation TEXT NOT NULL,
  token TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  answer TEXT NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (collection, operation, token)
) STRICT, WITHOUT ROWID;

CREATE INDEX once_at ON once (at);

-- What was deleted, so that a restored backup can forget it again.
CREATE TABLE erasure (
  uid BLOB NOT NULL, -- of the collection
  kind TEXT NOT NULL, -- collection, face or user
  id BLOB NOT NULL, -- FaceId, user key, or empty for the whole collection
  at REAL NOT NULL,
  PRIMARY KEY (uid, kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE access_key (
  key_id TEXT PRIMARY KEY,
  sealed BLOB NOT NULL, -- secret and session token
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  policies TEXT NOT NULL, -- JSON array of policy documents
  bearer INTEGER NOT NULL,
  expires_at REAL,
  active INTEGER NOT NULL,
  created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Hash chain: mac = HMAC(previous mac, sequence, entry).
CREATE TABLE audit (
  sequence INTEGER PRIMARY KEY,
  entry BLOB NOT NULL,
  mac BLOB NOT NULL
) STRICT;

-- How long the chain is, sealed, so that a cut at its end shows.
CREATE TABLE audit_head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  sequence INTEGER NOT NULL,
  mac BLOB NOT NULL,
  seal BLOB NOT NULL
) STRICT;
