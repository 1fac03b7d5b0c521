// Policies to start from: what most keys are made for.

const COLLECTIONS = "arn:aws:rekognition:*:*:collection/*";

export const STARTERS = {
  search: {
    text: "Search only",
    statements: [
      {
        Action: [
          "rekognition:SearchFaces",
          "rekognition:SearchFacesByImage",
          "rekognition:SearchUsers",
          "rekognition:SearchUsersByImage",
        ],
        Resource: COLLECTIONS,
      },
    ],
  },
  enrol: {
    text: "Enrol and search",
    statements: [
      {
        Action: [
          "rekognition:IndexFaces",
          "rekognition:ListFaces",
          "rekognition:CreateUser",
          "rekognition:ListUsers",
          "rekognition:AssociateFaces",
          "rekognition:Search*",
        ],
        Resource: COLLECTIONS,
      },
    ],
  },
  all: {
    text: "Everything with faces",
    statements: [{ Action: ["rekognition:*"], Resource: "*" }],
  },
  audit: {
    text: "Read the audit log",
    statements: [{ Action: ["recollect:ReadAudit", "recollect:ListAccessKeys"], Resource: "*" }],
  },
  root: {
    text: "Everything, keys and policies too (as good as root)",
    statements: [{ Action: ["rekognition:*", "recollect:*", "s3:GetObject*"], Resource: "*" }],
  },
};

/** The text of one of them. */
export function document(name) {
  const Statement = STARTERS[name].statements.map((statement) => ({
    Effect: "Allow",
    ...statement,
  }));
  return JSON.stringify({ Version: "2012-10-17", Statement }, null, 2);
}
