// Addresses of the console's pages: what stands behind the hash.

/** The address of a page, from its parts. */
export function link(...parts) {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** The parts of the address shown now; none where it cannot be read. */
export function parts() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return [];
  }
}
