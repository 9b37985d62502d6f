"""The same two routes as people write them: FastAPI, Mangum, Powertools and a boto3 client, all made at import."""

import base64
import json
import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from fastapi import FastAPI, HTTPException
from mangum import Mangum
from pydantic import BaseModel, Field

logger = Logger()
tracer = Tracer()
metrics = Metrics()
runtime = boto3.client("sagemaker-runtime")
app = FastAPI(title="Predictions")


class ClassificationRequest(BaseModel):
    """One text."""

    input: str = Field(min_length=1, max_length=5000)


class ClassificationResponse(BaseModel):
    """Its label, and the probability of each label."""

    label: str
    probabilities: list[float]


class DetectionRequest(BaseModel):
    """One image in base64."""

    image: str
    threshold: float = Field(default=0.3, ge=0, le=1)


class DetectedObject(BaseModel):
    """One object; the box is (x_min, y_min, x_max, y_max) in pixels."""

    label: str
    score: float
    box: list[float]


class DetectionResponse(BaseModel):
    """All objects found."""

    detections: list[DetectedObject]


@app.post("/v1/classifications")
def classify(request: ClassificationRequest) -> ClassificationResponse:
    """Classify one text."""
    outputs = _invoke({"name": "text", "datatype": "BYTES", "shape": [1], "data": [request.input]})
    return ClassificationResponse(label=outputs["label"][0], probabilities=outputs["probabilities"])


@app.post("/v1/detections")
def detect(request: DetectionRequest) -> DetectionResponse:
    """Find objects in one image."""
    base64.b64decode(request.image, validate=True)
    outputs = _invoke({"name": "image", "datatype": "BYTES", "shape": [1], "data": [request.image]})
    boxes = [outputs["boxes"][index : index + 4] for index in range(0, len(outputs["boxes"]), 4)]
    found = zip(outputs["labels"], outputs["scores"], boxes, strict=True)
    return DetectionResponse(
        detections=[DetectedObject(label=label, score=score, box=box) for label, score, box in found]
    )


@tracer.capture_method
def _invoke(tensor: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=os.environ["NAIVE_ENDPOINT"],
            ContentType="application/json",
            Body=json.dumps({"inputs": [tensor]}),
        )
    except runtime.exceptions.ModelError as error:
        logger.exception("model error")
        raise HTTPException(status_code=502, detail="model error") from error
    metrics.add_metric(name="Predictions", unit=MetricUnit.Count, value=1)
    outputs = json.loads(answer["Body"].read())["outputs"]
    return {output["name"]: output["data"] for output in outputs}


_mangum = Mangum(app, lifespan="off")


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Hand the event to FastAPI."""
    answer: dict[str, Any] = _mangum(event, context)
    return answer
