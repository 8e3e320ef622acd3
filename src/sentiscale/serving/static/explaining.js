/* One review explained; where the server cannot explain it, labelled at least, with the reason. */

import { call, Refused } from "./api.js";
import { tooLong } from "./labelling.js";

/** The prediction of one text, with `words` where they could be had, and a `note` where not. */
export async function explainOne(text, { signal, onWait, limits }) {
  const ask = (explain) =>
    call("v1/predict", { body: { texts: [text.toWellFormed?.() ?? text], explain }, signal, onWait });
  const characters = limits.explain_characters ?? limits.characters;
  let reason = tooLong(text, { characters }, "explains");
  if (!reason) {
    try {
      const { predictions, model } = await ask(true);
      return { prediction: predictions[0], model, note: "" };
    } catch (error) {
      const mayStillLabel = error instanceof Refused && ![401, 403, 404, 415].includes(error.status);
      if (!mayStillLabel) throw error;
      reason = error.message;
    }
  }
  const { predictions, model } = await ask(false);
  return { prediction: predictions[0], model, note: `Its words are not explained. ${reason}` };
}
