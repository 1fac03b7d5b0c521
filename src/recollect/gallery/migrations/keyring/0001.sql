-- The keys of the collections, apart from the database: a backup of the database holds none.

CREATE TABLE key (
  uid BLOB PRIMARY KEY, -- of the collection
  sealed BLOB NOT NULL, -- under the master key
  made_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
