-- Releases that know schema 1 work with this one.

-- The truth of several nodes. Every key of what grows begins with the collection, so that these
-- tables can be distributed by it; `collection`, `access_key` and the audit log are small or one.

CREATE TABLE root (
  one integer PRIMARY KEY CHECK (one = 1),
  sealed bytea NOT NULL -- the key that all others are derived from, under the master key
);

CREATE TABLE collection (
  account text COLLATE "C" NOT NULL,
  collection_id text COLLATE "C" NOT NULL,
  key bigint GENERATED ALWAYS AS IDENTITY UNIQUE, -- never used again
  pack text NOT NULL,
  model_version text NOT NULL,
  dimension integer NOT NULL,
  created_at double precision NOT NULL,
  PRIMARY KEY (account, collection_id)
);

-- Each collection's own key, under the root key. Deleting its row makes its templates unreadable.
CREATE TABLE collection_key (
  collection bigint PRIMARY KEY,
  sealed bytea NOT NULL
);

-- A collection's counters. Every write locks its row first, so that changes are numbered in the
-- order of their commits; a PostgreSQL sequence would hand 11 out before 10 is committed. Room
-- is left in its pages, so that an update stays on its page and touches no index.
CREATE TABLE tally (
  collection bigint PRIMARY KEY,
  sequence bigint NOT NULL DEFAULT 0, -- of the last change
  face_count bigint NOT NULL DEFAULT 0,
  user_count bigint NOT NULL DEFAULT 0,
  row_count bigint NOT NULL DEFAULT 0 -- rows ever made in face_template
) WITH (fillfactor = 50);

-- Deleted collections whose rows are still being erased, a slice at a time.
CREATE TABLE doomed (collection bigint PRIMARY KEY);

CREATE TABLE face (
  collection bigint NOT NULL,
  id bytea NOT NULL,
  row bigint NOT NULL, -- of its template
  image_id bytea NOT NULL,
  external_image_id text,
  box_left double precision NOT NULL,
  box_top double precision NOT NULL,
  box_width double precision NOT NULL,
  box_height double precision NOT NULL,
  confidence double precision NOT NULL,
  model_version text NOT NULL,
  weight double precision NOT NULL,
  enrolled_at double precision NOT NULL,
  user_key bytea, -- of the user it belongs to
  PRIMARY KEY (collection, id)
);

CREATE INDEX face_image ON face (collection, image_id);
CREATE INDEX face_user ON face (collection, user_key, id) WHERE user_key IS NOT NULL;

-- Numbered as they come, so that reading a collection's templates is one pass over its pages.
CREATE TABLE face_template (
  collection bigint NOT NULL,
  row bigint NOT NULL,
  id bytea NOT NULL,
  sealed bytea NOT NULL,
  PRIMARY KEY (collection, row)
);

CREATE TABLE enrolled_user (
  collection bigint NOT NULL,
  key bytea NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  face_count bigint NOT NULL DEFAULT 0,
  sealed bytea, -- aggregate template; none without faces
  PRIMARY KEY (collection, key),
  UNIQUE (collection, user_id)
);

-- A template of 512 dimensions is longer than what PostgreSQL moves elsewhere by default, which
-- would make a scan twice as many reads.
ALTER TABLE face_template ALTER COLUMN sealed SET STORAGE MAIN;
ALTER TABLE enrolled_user ALTER COLUMN sealed SET STORAGE MAIN;

CREATE TABLE tag (
  collection bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (collection, name)
);

-- Answers to calls that carried a ClientRequestToken, kept for a day.
CREATE TABLE once (
  collection bigint NOT NULL,
  operation text NOT NULL,
  token text NOT NULL,
  fingerprint bytea NOT NULL,
  answer text NOT NULL,
  at double precision NOT NULL,
  PRIMARY KEY (collection, operation, token)
);

CREATE INDEX once_at ON once (at);

-- What changed, for the indexes of other nodes: ids of sixteen bytes, one behind the other. The
-- templates are read from where they are. Kept for a while only; who is behind reads all anew.
CREATE TABLE change (
  collection bigint NOT NULL,
  sequence bigint NOT NULL,
  faces_added bytea NOT NULL,
  faces_removed bytea NOT NULL,
  users_added bytea NOT NULL,
  users_removed bytea NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (collection, sequence)
);

CREATE INDEX change_at ON change (at);

CREATE TABLE access_key (
  key_id text COLLATE "C" PRIMARY KEY,
  sealed bytea NOT NULL, -- secret and session token
  account text NOT NULL,
  name text NOT NULL,
  policies text NOT NULL, -- JSON array of policy documents
  bearer boolean NOT NULL,
  expires_at double precision,
  active boolean NOT NULL,
  created_at double precision NOT NULL
);

-- Hash chain: mac = HMAC(previous mac, sequence, entry).
CREATE TABLE audit (
  sequence bigint PRIMARY KEY,
  entry bytea NOT NULL,
  mac bytea NOT NULL
);

-- How long the chain is, sealed, so that a cut at its end shows. Whoever lengthens it locks it.
CREATE TABLE audit_head (
  one integer PRIMARY KEY CHECK (one = 1),
  sequence bigint NOT NULL,
  mac bytea NOT NULL,
  seal bytea NOT NULL
) WITH (fillfactor = 50);
