-- The end of the audit chain is sealed in its last record: a commit of one rewrites one page.

ALTER TABLE audit ADD COLUMN seal BLOB; -- of the last record only
UPDATE audit SET seal = (SELECT seal FROM audit_head)
  WHERE sequence = (SELECT sequence FROM audit_head);
DROP TABLE audit_head;
