"""The errors a caller can see: one class per error shape, its HTTP status beside it.

Code raises these by name; `wire` serialises them in one place. Anything else that escapes an
operation is a bug and is answered as InternalServerError without its text.

* ServiceError: modelled by Rekognition, written with a capital ``Message``
* FrameworkError: of the protocol in front of every AWS service, written with a small ``message``

Source: https://docs.aws.amazon.com/rekognition/latest/dg/error-handling.html
"""

from typing import ClassVar


class AnswerError(Exception):
    """An answer, not a bug: serialised to the caller as ``__type`` and its text."""

    status: ClassVar[int] = 400
    """HTTP status in the AWS dialect."""

    web_status: ClassVar[int] = 400
    """HTTP status in the plain dialect, as usual on the web."""

    @property
    def code(self) -> str:
        """The error shape's name, which is the class's name."""
        return type(self).__name__


class ServiceError(AnswerError):
    """An error that Rekognition's own model declares."""


class FrameworkError(AnswerError):
    """An error of parsing, authentication or admission, before the service is reached."""


# The service's own errors.


class InvalidParameterException(ServiceError):
    """A parameter makes no sense here, or the image holds no face."""

    def __init__(self, message: str = "Request has invalid parameters") -> None:
        super().__init__(message)


class InvalidImageFormatException(ServiceError):
    """The picture is neither a JPEG nor a PNG that can be read."""

    def __init__(self, message: str = "Request has invalid image format") -> None:
        super().__init__(message)


class ImageTooLargeException(ServiceError):
    """The picture has too many bytes, pixels or scans."""

    web_status = 413

    def __init__(self, message: str = "Image size is too large") -> None:
        super().__init__(message)


class InvalidS3ObjectException(ServiceError):
    """The S3 object could not be read."""

    def __init__(
        self,
        message: str = "Unable to get object metadata from S3. "
        "Check object key, region and/or access permissions.",
    ) -> None:
        super().__init__(message)


class InvalidPaginationTokenException(ServiceError):
    """The NextToken was not made by this operation on this resource."""

    def __init__(self, message: str = "Invalid Pagination Token") -> None:
        super().__init__(message)


class ResourceNotFoundException(ServiceError):
    """The collection, user or tagged resource does not exist."""

    web_status = 404


class ResourceAlreadyExistsException(ServiceError):
    """A collection of that name exists."""

    web_status = 409


class ConflictException(ServiceError):
    """The user exists already, or two changes of it met."""

    web_status = 409


class IdempotentParameterMismatchException(ServiceError):
    """A ClientRequestToken came again with other parameters."""

    web_status = 409


class ServiceQuotaExceededException(ServiceError):
    """The collection, the user or the tag set is full."""

    web_status = 409


class AccessDeniedException(FrameworkError):
    """The caller's policies do not allow this action on this resource."""

    web_status = 403


class ThrottlingException(ServiceError):
    """The server is busy; SDKs retry this by themselves."""

    web_status = 429

    def __init__(self, message: str = "Slow down; sudden increase in rate of requests") -> None:
        super().__init__(message)


class ProvisionedThroughputExceededException(ServiceError):
    """The caller's own rate is used up; SDKs retry this by themselves."""

    web_status = 429

    def __init__(self, message: str = "Provisioned rate exceeded") -> None:
        super().__init__(message)


class InternalServerError(ServiceError):
    """A bug or a broken machine; the request id leads to the log."""

    status = 500
    web_status = 500

    def __init__(self, message: str = "Internal server error") -> None:
        super().__init__(message)


# The framework's errors.


class ValidationException(FrameworkError):
    """The request breaks a rule of its shape."""


class SerializationException(FrameworkError):
    """The body is not JSON, or a value has the wrong type."""


class UnknownOperationException(FrameworkError):
    """No operation of that name is served here."""

    web_status = 404


class MethodNotAllowedException(FrameworkError):
    """The path takes POST and nothing else."""

    status = 405
    web_status = 405


class RequestEntityTooLargeException(FrameworkError):
    """The body is longer than the operation allows."""

    status = 413
    web_status = 413


class RequestHeaderTooLargeException(FrameworkError):
    """The header of the request has too many fields or bytes."""

    status = 431
    web_status = 431


class RequestTimeoutException(FrameworkError):
    """The body did not arrive in time."""

    status = 408
    web_status = 408


class MissingAuthenticationTokenException(FrameworkError):
    """The request is not signed."""

    web_status = 401

    def __init__(self, message: str = "Missing Authentication Token") -> None:
        super().__init__(message)


class IncompleteSignatureException(FrameworkError):
    """The Authorization header cannot be read."""

    web_status = 401


class InvalidSignatureException(FrameworkError):
    """The signature is wrong or too old."""

    web_status = 401

    def __init__(
        self,
        message: str = "The request signature we calculated does not match the signature you "
        "provided. Check your AWS Secret Access Key and signing method. Consult the service "
        "documentation for details.",
    ) -> None:
        super().__init__(message)


class UnrecognizedClientException(FrameworkError):
    """The access key is unknown or disabled."""

    web_status = 401

    def __init__(
        self, message: str = "The security token included in the request is invalid."
    ) -> None:
        super().__init__(message)


class ExpiredTokenException(FrameworkError):
    """The temporary credentials have run out."""

    web_status = 401

    def __init__(
        self, message: str = "The security token included in the request is expired"
    ) -> None:
        super().__init__(message)
