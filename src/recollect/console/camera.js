// One picture from the camera, in a dialog.

import { button, element } from "./element.js";
import { openDialog } from "./dialog.js";

/** Whether this page may ask for a camera: browsers offer it on HTTPS and on localhost only. */
export const cameraOffered = Boolean(navigator.mediaDevices?.getUserMedia);

/** Ask for a picture; resolves to a JPEG file, or null where the person changed their mind. */
export async function photograph() {
  const video = element("video", { playsinline: true, muted: true, "aria-label": "Camera" });
  const take = button("Take the picture", "", () => dialog.close("taken"), { disabled: true });
  const hint = element("p.hint", { role: "status" }, "Waiting for the camera …");
  const dialog = openDialog("Camera", [video, hint], [take]);
  let stream = null;
  try {
    const opening = navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 1280 }, height: { ideal: 720 } },
    });
    opening.then(
      async (opened) => {
        stream = opened;
        if (!dialog.node.open) return stop(opened);
        video.muted = true;
        video.srcObject = opened;
        await video.play();
        hint.textContent = "Once you take it, the picture goes to this server; it is not kept.";
        take.disabled = false;
        take.focus();
        return null;
      },
      (error) => {
        hint.textContent = explain(error);
      },
    );
    const verdict = await dialog.closed;
    return verdict === "taken" ? await still(video) : null;
  } finally {
    if (stream) stop(stream);
  }
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function explain(error) {
  if (error.name === "NotAllowedError") return "The browser does not let this page use the camera.";
  if (error.name === "NotFoundError") return "This computer has no camera.";
  return `The camera cannot be used: ${error.message}`;
}

async function still(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}
