"""Object detection: YOLOv3-tiny on the COCO classes."""
