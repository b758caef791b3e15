"""SNS in memory: the call that lambdas/adapters/topic.py makes. What was published is kept."""

from typing import Any

from lowtide.sim.calls import Hook, Request, Response, SimClient, aws_error

SUBJECT_MOST = 100
"""Characters of a subject, of ASCII that can be seen; SNS refuses others."""


class FakeSNS(SimClient):
    service = "sns"

    def __init__(self, *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self.published: list[dict[str, Any]] = []

    def publish(self, **request: Any) -> Response:
        return self._call("publish", request, frozenset({"TopicArn", "Subject", "Message"}), self._publish)

    def _publish(self, request: Request) -> Response:
        subject = request["Subject"]
        if not (0 < len(subject) <= SUBJECT_MOST and subject.isascii() and subject.isprintable()):
            raise aws_error("Publish", "InvalidParameter", "Invalid parameter: Subject")
        self.published.append(dict(request))
        return {"MessageId": f"message-{len(self.published)}"}
