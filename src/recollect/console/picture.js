// A picture that a person brought: read, made acceptable to the API, cut.

const BYTES_MAX = 5_242_880;
const SIDE_MIN_PX = 80;
const SIDE_MAX_PX = 10_000;
const CONVERTED_SIDE_MAX_PX = 2560;
const JPEG_QUALITY = 0.92;

/** The file is no usable picture; the message says why. */
export class PictureError extends Error {}

/** A picture in this page's memory. It is never stored. */
export class Picture {
  /**
   * @param {string} name the file's name.
   * @param {Blob} blob a JPEG or PNG of at most 5 MiB.
   * @param {HTMLImageElement} image the same, decoded and upright.
   * @param {string | null} note what was changed on the way, in words.
   */
  constructor(name, blob, image, note = null) {
    Object.assign(this, { name, blob, image, note });
  }

  get width() {
    return this.image.naturalWidth;
  }

  get height() {
    return this.image.naturalHeight;
  }

  /**
   * Read a file.
   *
   * A JPEG or PNG within the API's limits stays as it is. Anything else that the browser can
   * show is drawn anew as a JPEG, smaller where it must be.
   */
  static async read(file) {
    const name = file.name || "picture";
    const image = await decode(file, name);
    if (Math.min(image.naturalWidth, image.naturalHeight) < SIDE_MIN_PX) {
      throw new PictureError(
        `${name} has ${image.naturalWidth} × ${image.naturalHeight} pixels; ` +
          `at least ${SIDE_MIN_PX} on each side are needed.`,
      );
    }
    if (
      (await acceptable(file)) &&
      Math.max(image.naturalWidth, image.naturalHeight) <= SIDE_MAX_PX
    ) {
      return new Picture(name, file, image);
    }
    const whole = { Left: 0, Top: 0, Width: 1, Height: 1 };
    const blob = await redraw(image, whole, CONVERTED_SIDE_MAX_PX);
    URL.revokeObjectURL(image.src);
    const converted = await decode(blob, name);
    return new Picture(
      name,
      blob,
      converted,
      `Made a JPEG of ${converted.naturalWidth} × ${converted.naturalHeight} pixels in this page, ` +
        "because the file is larger than 5 MB or neither JPEG nor PNG.",
    );
  }

  /** The Image member of a request. */
  async request() {
    return { Bytes: await base64(this.blob) };
  }

  /** Cut out a region, given in ratios of the picture, and enlarge it where it is too small. */
  async cut(region) {
    const blob = await redraw(this.image, region, CONVERTED_SIDE_MAX_PX);
    return new Picture(this.name, blob, await decode(blob, this.name));
  }

  /** Let go of the decoded picture. */
  close() {
    URL.revokeObjectURL(this.image.src);
  }
}

/** The Image member of a request for a file that need not be shown. */
export async function requestOf(file) {
  if (await acceptable(file)) return { Bytes: await base64(file) };
  const picture = await Picture.read(file);
  try {
    return await picture.request();
  } finally {
    picture.close();
  }
}

/** Whether the API takes the file's bytes as they are. */
async function acceptable(file) {
  if (file.size > BYTES_MAX) return false;
  const [a, b, c, d] = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  const jpeg = a === 0xff && b === 0xd8 && c === 0xff;
  const png = a === 0x89 && b === 0x50 && c === 0x4e && d === 0x47;
  return jpeg || png;
}

async function decode(blob, name) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
  } catch {
    URL.revokeObjectURL(image.src);
    throw new PictureError(`${name} is not a picture that this browser can read.`);
  }
  return image;
}

async function redraw(image, { Left, Top, Width, Height }, sideMaxPx) {
  const source = [Left * image.naturalWidth, Top * image.naturalHeight];
  const size = [Width * image.naturalWidth, Height * image.naturalHeight];
  const shrink = sideMaxPx / Math.max(...size);
  const grow = SIDE_MIN_PX / Math.min(...size);
  const scale = Math.min(shrink, Math.max(1, grow));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = size.map((side) => Math.max(1, Math.round(side * scale)));
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, ...source, ...size, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", JPEG_QUALITY));
  if (blob === null) throw new PictureError("This browser could not draw the picture.");
  return blob;
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new PictureError("The file can no longer be read."));
    reader.readAsDataURL(blob);
  });
}
