"""Messages to other programs, signed as Standard Webhooks asks (standardwebhooks.com), so that they can tell that it is us."""

from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook


def signed_headers(signer: Webhook, message_id: str, body: bytes) -> dict[str, str]:
    """The headers of a message that is sent now. `message_id` stays the same when it is sent again."""
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "user-agent": "dialer-webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(message_id, now, body.decode()),
    }
