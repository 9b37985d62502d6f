"""A real photo through the front door, however it travels, to every version of the detector."""

import base64

import pytest

from tests.integration.models.conftest import REPOSITORY
from tests.integration.models.hand_boxes import THINGS
from tests.integration.models.test_detection import OVERLAP_MIN, get, overlap
from tests.integration.whole_platform.conftest import Answer, Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(240)]

NAME = "motorcycle_left.png"
(THING,) = THINGS[NAME]
TIMEOUT = {"x_request_timeout_ms": "15000"}


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A photo with a motorbike, from a pinned package."""
    return get(NAME, REPOSITORY / ".headrace" / "downloads")


def assert_found(answer: Answer) -> None:
    """The answer holds the motorbike where it is."""
    assert answer.status == 200, answer.body
    assert answer.json()["image"] == {"width": 741, "height": 500}
    found = [item["box"] for item in answer.json()["detections"] if item["label"] == THING.label]
    overlaps = [overlap((box["x_min"], box["y_min"], box["x_max"], box["y_max"]), THING.box) for box in found]
    assert max(overlaps, default=0) > OVERLAP_MIN


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_versions_find_it(platform: Platform, picture: bytes, version: str) -> None:
    """Two versions of different size stand side by side; a header pins one."""
    answer = platform.send(
        "POST", "/v1/detections", picture, content_type="image/png", x_headrace_version=version, **TIMEOUT
    )
    assert answer.headers["x-headrace-served-by"] == f"detection/{version}"
    assert_found(answer)


def test_it_travels_in_base64_and_by_reference(platform: Platform, picture: bytes) -> None:
    """The same photo in JSON, and as an object below the tenant's own prefix; another tenant's is refused."""
    encoded = {"image": {"base64": base64.b64encode(picture).decode()}}
    assert_found(platform.send("POST", "/v1/detections", encoded, **TIMEOUT))
    bucket = "headrace-local-inputs"
    s3 = platform.client("s3")
    for tenant in ("demo", "other"):
        s3.put_object(Bucket=bucket, Key=f"tenants/{tenant}/bike.png", Body=picture)
    own, other = ({"image": {"s3": f"s3://{bucket}/tenants/{tenant}/bike.png"}} for tenant in ("demo", "other"))
    assert_found(platform.send("POST", "/v1/detections", own, **TIMEOUT))
    refused = platform.send("POST", "/v1/detections", other, **TIMEOUT)
    assert (refused.status, refused.json()["error"]["code"]) == (403, "object_forbidden")


def test_the_cpu_stands_in_for_the_whole_endpoint(healthy: Platform, picture: bytes) -> None:
    """With every variant down the CPU function's detector answers, and says so."""
    healthy.stack.fault(endpoint="detection", kind="unavailable")
    asked = {"content_type": "image/png", "cache_control": "no-store", **TIMEOUT}
    answer = healthy.send("POST", "/v1/detections", picture, **asked)
    assert answer.status == 200, answer.body
    assert answer.headers["x-headrace-served-by"] == "detection/cpu"
    assert answer.headers["x-headrace-degraded"] == "unavailable"
    assert_found(answer)


def test_the_smaller_variant_stands_in_for_the_larger(healthy: Platform, picture: bytes) -> None:
    """A caller of v2 gets v1's boxes while v2 is down, and reads whose they are."""
    asked = {"content_type": "image/png", "cache_control": "no-store", **TIMEOUT}
    for number in range(100):
        key = f"caller-{number}"
        answer = healthy.send("POST", "/v1/detections", picture, x_headrace_sticky_key=key, **asked)
        if answer.headers["x-headrace-served-by"] == "detection/v2":
            break
    healthy.stack.fault(endpoint="detection", variant="v2", kind="unavailable")
    answer = healthy.send("POST", "/v1/detections", picture, x_headrace_sticky_key=key, **asked)
    assert answer.status == 200, answer.body
    assert answer.headers["x-headrace-served-by"] == "detection/v1"
    assert answer.headers["x-headrace-degraded"] == "unavailable"
    assert_found(answer)


def test_callers_share_the_versions(platform: Platform, picture: bytes) -> None:
    """Requests with one sticky key go to one version; different keys reach both."""

    def served(key: str) -> str:
        answer = platform.send(
            "POST", "/v1/detections", picture, content_type="image/png", x_headrace_sticky_key=key, **TIMEOUT
        )
        return answer.headers["x-headrace-served-by"]

    assert len({served("a") for _ in range(3)}) == 1
    assert {served(f"caller-{number}") for number in range(40)} == {"detection/v1", "detection/v2"}
