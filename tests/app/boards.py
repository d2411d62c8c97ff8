"""What the board's panels were sent, for tests."""

import json
import struct
import time
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

KINDS = {"float32": np.float32, "int32": np.int32, "uint8": np.uint8}


def unpacked(data: bytes) -> dict[str, Any]:
    """What `figures.packing.pack` packed, read as the browser reads it."""
    (length,) = struct.unpack("<I", data[:4])
    body = data[4 + length :]

    def array(value: dict[str, Any]) -> Any:
        if "$array" not in value:
            return value
        offset, size, kind = value["$array"]
        return np.frombuffer(body[offset : offset + size], KINDS[kind]).reshape(value["shape"])

    return json.loads(data[4 : 4 + length], object_hook=array)


def panel(page: AppTest, name: str) -> dict[str, Any]:
    """What a panel was sent last."""
    for component in page.get("bidi_component"):
        if component.proto.component_name == "headscope_bring":
            content = unpacked(component.proto.bytes)
            if content["panel"] == name:
                return content
    raise AssertionError(f"there is no panel {name!r} on the board")


def settled(page: AppTest, name: str, patience: float = 60) -> dict[str, Any]:
    """A panel's content once nothing is being made for it; the browser's timer runs the page."""
    deadline = time.monotonic() + patience
    while "being " in panel(page, name).get("waiting", "") and time.monotonic() < deadline:
        time.sleep(0.1)
        page.run()
    return panel(page, name)
