// Figures and names as a person reads them.

/** A count with its noun. */
export function counted(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
}

/** A model version with the pack's name where the server states it. */
export function modelName(about, version) {
  const name = about.packs?.[version]?.name;
  return name ? `${version}, ${name}` : version;
}

/** Epoch seconds as a day and a time, to the minute, of this computer's place. */
export function day(seconds) {
  return written(seconds, "short");
}

/** The same to the second. */
export function moment(seconds) {
  return written(seconds, "medium");
}

function written(seconds, timeStyle) {
  return new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle });
}
