// Who is signed in: in this page's memory, or until the tab closes where the person asks for it.

const PLACE = "recollect.credentials";

/** Keep credentials in the tab, so that reloading the page does not sign out. */
export function keep(credentials) {
  sessionStorage.setItem(PLACE, JSON.stringify(credentials));
}

/** The credentials kept in the tab, or null. */
export function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE));
  } catch {
    forget();
    return null;
  }
}

/** Forget whatever is kept. */
export function forget() {
  sessionStorage.removeItem(PLACE);
}
