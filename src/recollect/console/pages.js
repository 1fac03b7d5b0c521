// A list that the API gives page by page, forwards and back.

import { button, element, fill } from "./element.js";
import { failure } from "./failure.js";

/**
 * @param {object} options
 * @param {(token: string | undefined) => Promise<object>} options.ask answers one page.
 * @param {(answer: object) => Node} options.draw
 * @param {AbortSignal} options.signal
 * @returns {{node: HTMLElement, first: () => Promise<void>, again: () => Promise<void>}}
 */
export function pages({ ask, draw, signal }) {
  const content = element("div");
  const buttons = element("div.actions");
  // The tokens that led to the pages seen so far; the first page has none.
  let tokens = [undefined];

  async function show() {
    let answer;
    try {
      answer = await ask(tokens.at(-1));
    } catch (error) {
      if (!signal.aborted) fill(content, failure(error));
      return;
    }
    fill(content, draw(answer));
    const back = tokens.length > 1;
    fill(
      buttons,
      back ? button("Previous page", "quiet", () => (tokens.pop(), show())) : null,
      answer.NextToken
        ? button("Next page", "quiet", () => (tokens.push(answer.NextToken), show()))
        : null,
      back || answer.NextToken ? element("span.hint", {}, `Page ${tokens.length}`) : null,
    );
  }

  return {
    node: element("div", {}, content, buttons),
    again: show,
    first() {
      tokens = [undefined];
      return show();
    },
  };
}
