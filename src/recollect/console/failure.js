// An error as a person can use it: what happened, the server's words, and what to do.

import { ApiError } from "./api.js";
import { copyButton } from "./clipboard.js";
import { element } from "./element.js";
import { PictureError } from "./picture.js";

const SIGN_IN_AGAIN = "Sign out and in again with a key that is valid now.";

const ADVICE = {
  AccessDeniedException:
    "This key's policy does not allow the action. Ask whoever made the key, or sign in with another.",
  ConflictException: "It exists already, or somebody changed it at this moment. Look again.",
  ExpiredTokenException: SIGN_IN_AGAIN,
  IdempotentParameterMismatchException: "Try once more.",
  ImageTooLargeException: "Use a picture with fewer pixels.",
  IncompleteSignatureException: SIGN_IN_AGAIN,
  InternalServerError:
    "This is the server's fault. Whoever runs it finds the cause in its log under the request id.",
  InvalidImageFormatException:
    "The file is damaged, or no JPEG or PNG. Save it anew and try again.",
  InvalidPaginationTokenException: "The list changed its shape. Begin again at the first page.",
  InvalidParameterException: "Look at the values of this form and try again.",
  InvalidSignatureException:
    "The secret does not belong to this access key, or this computer's clock is wrong, or a proxy " +
    "in between rewrites the Host header.",
  MissingAuthenticationTokenException: SIGN_IN_AGAIN,
  NoAnswer: "Check that the server runs and the network is up, then try again.",
  ProvisionedThroughputExceededException: "This key's rate is used up. Wait a little.",
  RequestEntityTooLargeException: "Use a smaller picture.",
  RequestTimeoutException: "The picture took too long to arrive. Try again on a better network.",
  ResourceAlreadyExistsException: "Choose another name, or open the one that exists.",
  ResourceNotFoundException: "It was deleted meanwhile, or its name is misspelt.",
  ServiceQuotaExceededException: "Delete what is not needed, or ask for a larger limit.",
  ThrottlingException: "The server is busy. Wait a little and try again.",
  UnrecognizedClientException: SIGN_IN_AGAIN,
  ValidationException: "Correct the value that the message names.",
};

const NO_FACE = "There are no faces in the image. Should be at least 1.";

/** What to do about an error. */
export function advice(error) {
  if (error.message === NO_FACE) {
    return "Use a picture in which a face is seen from the front, at least 40 pixels wide.";
  }
  return ADVICE[error.code] ?? "Try again; if it stays so, tell whoever runs this server.";
}

/** A notice that shows an error. */
export function failure(error) {
  if (error instanceof PictureError) {
    return element("div.failure", { role: "alert" }, element("strong", {}, error.message));
  }
  if (!(error instanceof ApiError)) {
    console.error(error);
    const message = "This page has a fault; the browser's console shows it. Load the page anew.";
    return element("div.failure", { role: "alert" }, element("strong", {}, message));
  }
  return element(
    "div.failure",
    { role: "alert" },
    element("strong", {}, error.message),
    element("p", {}, advice(error)),
    element(
      "p.origin",
      {},
      element("code", {}, error.code),
      ` from ${error.operation}`,
      error.requestId ? [", request ", element("code", {}, error.requestId), " "] : "",
      error.requestId ? copyButton(error.requestId, "request id") : null,
    ),
  );
}
