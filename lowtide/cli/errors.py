"""How the command line fails: one sentence with its remedy on stderr, never a traceback.

Failure     what was asked could not be done: exit 1
└── Misuse  it was asked wrongly: exit 2
"""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
)

FAILED = 1
MISUSED = 2


class Failure(Exception):
    """`str()` is the sentence; it says what to do next."""

    exit_code = FAILED


class Misuse(Failure):
    exit_code = MISUSED


def sentence(error: Exception) -> str:
    """What to tell a person about an error that AWS or its SDK raised."""
    if isinstance(error, NoCredentialsError):
        return (
            "no AWS credentials were found: run aws configure, set AWS_PROFILE, or export what lowtide local up prints"
        )
    if isinstance(error, NoRegionError):
        return "no AWS Region is set: set AWS_REGION, or the region of your profile"
    if isinstance(error, ClientError):
        return _refused(error)
    if isinstance(error, ConnectionError | HTTPClientError):
        return f"AWS could not be reached: {error}. Check the network, and AWS_ENDPOINT_URL if it is set"
    if isinstance(error, BotoCoreError):
        return f"AWS was not asked: {str(error).rstrip('.')}. Check your AWS settings: AWS_PROFILE, ~/.aws/config"
    return str(error)


def _refused(error: ClientError) -> str:
    code, message = error.response.get("Error", {}).get("Code", "?"), error.response.get("Error", {}).get("Message", "")
    denied = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
    remedy = "ask for the permission that the message names" if code in denied else "see the message"
    return f"AWS refused {error.operation_name} ({code}: {message}): {remedy}"
