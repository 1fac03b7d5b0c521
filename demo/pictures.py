"""The demo's photographs: public domain, brought by packages from PyPI, never by this project.

* Eileen Collins, astronaut (NASA, public domain): in scikit-image
* Grace Hopper, rear admiral (US Navy, public domain): in matplotlib
* a cup of coffee, without a face (Rachel Michetti, CC0): in scikit-image
"""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np


def photograph(name: str) -> bytes:
    """Bytes of one of the three pictures: astronaut, hopper or coffee."""
    package, path = {
        "astronaut": ("skimage", "data/astronaut.png"),
        "coffee": ("skimage", "data/coffee.png"),
        "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    }[name]
    found = find_spec(package)
    assert found is not None, f"{package} is not installed: make demo installs it"
    assert found.origin is not None
    return (Path(found.origin).parent / path).read_bytes()


def changed(data: bytes, degrees: float = 9.0, light: float = 0.75, quality: int = 70) -> bytes:
    """The same picture turned, cropped, relit and encoded again, as JPEG."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.1)
    turned = cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    cropped = turned[: int(height * 0.8), int(width * 0.1) : int(width * 0.9)]
    relit = np.clip(cropped.astype(np.float32) * light + 10, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", relit, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
