// Import: many files into a collection, with progress, pause and what became of each.

import { advice, failure } from "../failure.js";
import { button, element, field, fill, select } from "../element.js";
import { Queue } from "../queue.js";
import { counted } from "../words.js";
import { idOf, QUALITY_FILTERS, reasons } from "./enrolment.js";

const FILES_MAX = 10_000;
const PICTURE = /\.(jpe?g|png|webp|avif|gif|bmp|heic)$/i;

/** Build the page. */
export function bulk(page, collection) {
  const { api, signal } = page;
  const rows = new Map();
  const list = element("ul.files");
  const progress = element("progress", { max: 1, "aria-label": "Files done" });
  progress.value = 0;
  const figures = element("p", { role: "status" });
  const problem = element("div");
  const count = element("input.short", { type: "number", min: 1, max: 100, required: true });
  count.value = 1;
  const filter = select(QUALITY_FILTERS, "AUTO");
  const onlyProblems = element("input", {
    type: "checkbox",
    on: { change: () => list.classList.toggle("only-problems", onlyProblems.checked) },
  });

  const queue = new Queue(
    async (item, image) => {
      const answer = await api.call(
        "IndexFaces",
        {
          CollectionId: collection.id,
          Image: image,
          ExternalImageId: item.externalImageId || undefined,
          MaxFaces: count.valueAsNumber,
          QualityFilter: filter.value,
        },
        signal,
      );
      if (collection.FaceCount !== null) collection.FaceCount += answer.FaceRecords.length;
      return answer;
    },
    (item) => {
      if (item) draw(item);
      show();
    },
  );

  const start = button("Start", "", begin);
  const halt = button("Pause", "quiet", () => queue.pause());
  const again = button("Try the failed again", "quiet", () => {
    queue.retry();
    begin();
  });

  function begin() {
    if (!count.reportValidity()) return;
    problem.replaceChildren();
    queue.start();
  }

  const choosers = [
    chooser("Choose files", {}),
    chooser("Choose a folder", { webkitdirectory: true }),
  ];
  const place = element(
    "div.intake",
    {
      on: {
        dragover: (event) => (event.preventDefault(), place.classList.add("over")),
        dragleave: () => place.classList.remove("over"),
        drop: (event) => {
          event.preventDefault();
          place.classList.remove("over");
          add(event.dataTransfer.files);
        },
      },
    },
    element("p.lead", {}, "Which pictures?"),
    element("p.pointer", {}, "Drop them here, or"),
    element("div.actions", {}, choosers),
    element(
      "p.hint",
      {},
      "Each file's name without its ending, behind the names of its folders, becomes its " +
        "ExternalImageId. Enrolling a picture twice " +
        "under one name makes no second face, so an import can be repeated.",
    ),
  );

  function chooser(text, attributes) {
    const input = element("input", {
      hidden: true,
      type: "file",
      multiple: true,
      accept: "image/*",
      ...attributes,
      on: {
        change: () => {
          add(input.files);
          input.value = "";
        },
      },
    });
    return [button(text, "quiet", () => input.click()), input];
  }

  function add(files) {
    const pictures = [...files].filter(
      ({ type, name }) => type.startsWith("image/") || PICTURE.test(name),
    );
    const room = FILES_MAX - queue.items.length;
    const left = files.length - pictures.length;
    const notes = [];
    if (left) notes.push(`${counted(left, "file")} left out: no picture by name or type.`);
    if (pictures.length > room) notes.push(`At most ${counted(FILES_MAX, "file")} at once.`);
    fill(problem, notes.length ? element("p.hint", {}, notes.join(" ")) : null);
    for (const file of pictures.slice(0, room)) {
      const item = queue.add(file, idOf(pathOf(file)));
      const row = element("li");
      rows.set(item, row);
      list.append(row);
      draw(item);
    }
    show();
  }

  function draw(item) {
    const row = rows.get(item);
    row.className = item.state;
    const more = item.reasons.length ? ` Not enrolled: ${reasons(item.reasons)}.` : "";
    const outcome = {
      waiting: () => "waiting",
      working: () => "working …",
      enrolled: () => `${counted(item.faces, "face")} enrolled.${more}`,
      empty: () => (more ? `No face enrolled.${more}` : "No face was found."),
      failed: () => `${item.error.message} ${item.error.code ? advice(item.error) : ""}`,
    }[item.state]();
    fill(
      row,
      element("span.name", {}, pathOf(item.file)),
      element("code", {}, item.externalImageId || "no ExternalImageId"),
      element("span.outcome", {}, outcome),
    );
  }

  function show() {
    const total = queue.items.length;
    const [enrolled, bare, failed] = ["enrolled", "empty", "failed"].map((state) =>
      queue.count(state),
    );
    const done = enrolled + bare + failed;
    progress.max = Math.max(1, total);
    progress.value = done;
    figures.textContent = total
      ? `${done} of ${counted(total, "file")} done: ${enrolled} enrolled, ` +
        `${bare} without a face to enrol, ${failed} failed.`
      : "";
    work.hidden = total === 0;
    start.disabled = queue.running || done === total;
    start.textContent = done === 0 ? "Start" : "Go on";
    halt.disabled = !queue.running;
    again.hidden = failed === 0 || queue.running;
    if (queue.error && !signal.aborted) fill(problem, failure(queue.error));
    collection.show();
  }

  const work = element(
    "div",
    {},
    element(
      "div.row.top",
      {},
      field("MaxFaces", count, "A picture's largest faces first."),
      field("QualityFilter", filter, "Faces below it are not enrolled."),
    ),
    element("div.actions", {}, start, halt, again),
    progress,
    figures,
    element("label.check", {}, onlyProblems, "Show only what was not enrolled"),
    list,
  );
  window.addEventListener("beforeunload", (event) => queue.running && event.preventDefault(), {
    signal,
  });
  signal.addEventListener("abort", () => queue.pause());
  show();
  return element("section.card", { "aria-label": "Import" }, place, problem, work);
}

// Below a chosen folder the folders count too: a picture of each person may be called 1.jpg.
function pathOf(file) {
  return file.webkitRelativePath.split("/").slice(1).join(":") || file.name;
}
