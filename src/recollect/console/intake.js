// The place where a picture comes in: dropped, pasted, chosen or taken with the camera.

import { cameraOffered, photograph } from "./camera.js";
import { button, element, fill } from "./element.js";
import { failure } from "./failure.js";
import { Picture } from "./picture.js";

const NO_CAMERA = "Browsers offer the camera on HTTPS and on localhost only.";

/**
 * A place for one picture.
 *
 * @param {object} options
 * @param {string} options.title what the picture is for.
 * @param {(picture: Picture) => void} options.received called with each picture.
 * @param {() => boolean} options.wantsPaste whether a pasted picture is for this place.
 * @param {AbortSignal} options.signal ends when the page is left.
 * @returns {{node: HTMLElement, picture: Picture | null, show: (stage: HTMLElement) => void}}
 */
export function intake({ title, received, wantsPaste = () => true, signal }) {
  const stage = element("div");
  const problem = element("div");
  const chooser = element("input", {
    hidden: true,
    type: "file",
    accept: "image/*",
    on: { change: () => chooser.files[0] && take(chooser.files[0]) },
  });
  const choose = button("Choose a picture", "", () => chooser.click());
  const camera = button("Use the camera", "quiet", async () => {
    const file = await photograph();
    if (file) take(file);
  });
  camera.disabled = !cameraOffered;
  if (!cameraOffered) camera.title = NO_CAMERA;
  const details = element("p.hint");
  const invitation = element(
    "div.invitation",
    {},
    element("p.lead", {}, title),
    element("p.pointer", {}, "Drop a picture here, paste it, or"),
  );
  const node = element(
    "div.intake",
    {},
    stage,
    invitation,
    element("div.actions", {}, choose, camera, chooser),
    cameraOffered ? null : element("p.hint", {}, NO_CAMERA),
    details,
    problem,
  );
  const place = {
    node,
    picture: null,
    show(content) {
      // Whoever walks the frames with the keyboard stays at the one they were at.
      const frames = () => [...stage.querySelectorAll(".frame")];
      const at = frames().indexOf(document.activeElement);
      fill(stage, content);
      frames()[at]?.focus();
    },
  };

  async function take(file) {
    problem.replaceChildren();
    try {
      const picture = await Picture.read(file);
      if (signal.aborted) return picture.close();
      place.picture?.close();
      place.picture = picture;
    } catch (error) {
      fill(problem, failure(error));
      return null;
    } finally {
      chooser.value = "";
    }
    const { picture } = place;
    node.classList.add("full");
    choose.textContent = "Another picture";
    choose.classList.add("quiet");
    fill(
      details,
      `${picture.name}, ${picture.width} × ${picture.height} pixels. `,
      picture.note ? `${picture.note} ` : "",
    );
    received(picture);
    return null;
  }

  node.addEventListener("dragover", (event) => {
    event.preventDefault();
    node.classList.add("over");
  });
  node.addEventListener("dragleave", () => node.classList.remove("over"));
  node.addEventListener("drop", (event) => {
    event.preventDefault();
    node.classList.remove("over");
    const file = event.dataTransfer.files[0];
    if (file) take(file);
    else
      fill(
        problem,
        element("p.hint", {}, "That was no file. Save the picture first, or copy and paste it."),
      );
  });
  document.addEventListener(
    "paste",
    (event) => {
      const file = event.clipboardData?.files[0];
      if (!file || !wantsPaste()) return;
      event.preventDefault();
      take(file);
    },
    { signal },
  );
  signal.addEventListener("abort", () => place.picture?.close());
  return place;
}
