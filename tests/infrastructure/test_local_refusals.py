"""The local front and the deployed gateway refuse in the same words."""

import json
from typing import Any

from infra_cdk.gateway import _REFUSALS
from infra_local.refusals import OUR_WORDS


def test_both_gateways_say_the_same() -> None:
    """Type, status, code, message and retry of every gateway response agree."""
    deployed = {
        refusal.kind.response_type: (refusal.status, refusal.code, refusal.type, refusal.message, refusal.retry_s)
        for refusal in _REFUSALS.values()
    }
    local: dict[str, Any] = {
        kind: (words.status, words.code, words.type, words.message, words.retry_s) for kind, words in OUR_WORDS.items()
    }
    assert json.dumps(local, sort_keys=True) == json.dumps(deployed, sort_keys=True)
