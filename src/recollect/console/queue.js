// Files waiting to be enrolled, worked on a few at a time, with pause and second tries.

import { ApiError } from "./api.js";
import { requestOf } from "./picture.js";

const AT_ONCE = 2;

// Errors of one file; every other error would meet the next file too, so the queue pauses.
const OF_ONE_FILE = new Set([
  "ImageTooLargeException",
  "InvalidImageFormatException",
  "InvalidParameterException",
  "RequestEntityTooLargeException",
  "RequestTimeoutException",
  "ValidationException",
]);

/**
 * One file and what became of it.
 *
 * @typedef {{file: File, externalImageId: string, state: "waiting" | "working" | "enrolled"
 *   | "empty" | "failed", faces: number, reasons: string[], error: Error | null}} Item
 */

/** A queue of files on their way into a collection. */
export class Queue {
  /**
   * @param {(item: Item, image: object) => Promise<object>} enrol answers IndexFaces for one file.
   * @param {(item: Item | null) => void} changed called when an item, or the queue, changed.
   */
  constructor(enrol, changed) {
    this.items = [];
    this.running = false;
    this.error = null;
    this.enrol = enrol;
    this.changed = changed;
    this.workers = 0;
    this.run = 0;
  }

  add(file, externalImageId) {
    const item = { file, externalImageId, state: "waiting", faces: 0, reasons: [], error: null };
    this.items.push(item);
    return item;
  }

  start() {
    this.running = true;
    this.error = null;
    this.run += 1;
    for (let started = this.workers; started < AT_ONCE; started++) this.#work();
    this.changed(null);
  }

  pause() {
    this.running = false;
    this.changed(null);
  }

  /** Let the failed files wait for another try. */
  retry() {
    for (const item of this.items) {
      if (item.state !== "failed") continue;
      Object.assign(item, { state: "waiting", error: null });
      this.changed(item);
    }
  }

  count(state) {
    return this.items.filter((item) => item.state === state).length;
  }

  async #work() {
    this.workers += 1;
    try {
      for (let item = this.#next(); item; item = this.#next()) await this.#one(item);
    } finally {
      this.workers -= 1;
      if (this.workers === 0) this.running = false;
      this.changed(null);
    }
  }

  #next() {
    return this.running ? this.items.find((item) => item.state === "waiting") : undefined;
  }

  async #one(item) {
    const { run } = this;
    item.state = "working";
    this.changed(item);
    try {
      const { FaceRecords, UnindexedFaces } = await this.enrol(item, await requestOf(item.file));
      item.faces = FaceRecords.length;
      item.reasons = [...new Set(UnindexedFaces.flatMap((face) => face.Reasons))];
      item.state = item.faces ? "enrolled" : "empty";
    } catch (error) {
      const everywhere = error instanceof ApiError && !OF_ONE_FILE.has(error.code);
      item.state = everywhere ? "waiting" : "failed";
      item.error = error;
      // What comes late from before a new start says nothing of how things are now.
      if (everywhere && run === this.run) {
        this.running = false;
        this.error = error;
      }
    }
    this.changed(item);
  }
}
