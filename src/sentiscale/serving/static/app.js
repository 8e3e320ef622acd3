/* The page: joins what is entered with what is shown, and keeps what the server says of its model. */

import { call, onKeyWanted } from "./api.js";
import { Classes } from "./classes.js";
import { byId, make } from "./dom.js";
import { Entry } from "./entry.js";
import { DEFAULT_LIMITS, forget } from "./labelling.js";
import { Many } from "./many.js";
import { inShort, modelView } from "./model.js";
import { One } from "./one.js";

/** What the flows share. */
const page = {
  about: null,
  classes: new Classes(),
  limits: DEFAULT_LIMITS,
  onWait(sentence) {
    byId("waiting").textContent = sentence;
  },
  /** Before predictions are shown: what they mean is known for the model that made them. */
  async onModel({ digest }) {
    if (page.about?.digest !== digest) await (learning ?? learnModel());
  },
  onProblem(sentence, again = null) {
    const box = byId("problem");
    box.hidden = sentence === "";
    box.replaceChildren(sentence);
    if (again) {
      box.append(" ", make("button", {
        type: "button", text: "Try again", on: { click: () => { page.onProblem(""); again(); } },
      }));
    }
  },
};

let learning = null;
const one = new One(page);
const many = new Many(page);

const entry = new Entry({
  page,
  onOne(text) {
    page.onProblem("");
    many.stop();
    many.clear();
    one.show(text);
  },
  onMany(table) {
    page.onProblem("");
    one.stop();
    one.clear();
    many.show(table);
  },
  onNothing() {
    page.onProblem("");
    for (const flow of [one, many]) {
      flow.stop();
      flow.clear();
    }
  },
  onProblem: page.onProblem,
});

/** Asks the server for its model and shows it; again after the server has taken another one. */
function learnModel() {
  learning = askForModel().finally(() => { learning = null; });
  return learning;
}

async function askForModel() {
  const box = byId("model-content");
  try {
    const about = await call("v1/model", { onWait: page.onWait });
    const isNew = page.about !== null && page.about.digest !== about.digest;
    const before = JSON.stringify(page.classes);
    page.about = about;
    page.classes = new Classes(about);
    page.limits = { ...DEFAULT_LIMITS, ...about.limits };
    byId("title").textContent = page.classes.question;
    document.title = `${page.classes.question} · sentiscale`;
    byId("serving").textContent = inShort(about);
    box.replaceChildren(...modelView(about, page.classes));
    if (isNew) forget();
    if (isNew && JSON.stringify(page.classes) !== before) entry.read(); // old labels mean something else
    many.setClasses(page.classes);
  } catch (error) {
    box.replaceChildren(make("p", { class: "note" }, `What model this is cannot be said: ${error.message} `,
      make("button", { type: "button", text: "Try again", on: { click: learnModel } })));
  }
}

/** A dialog for the API key; the key stays in this page's memory and is gone with it. */
onKeyWanted((wasRefused) => new Promise((resolve) => {
  const dialog = byId("key-dialog");
  byId("key").value = "";
  byId("key-refused").hidden = !wasRefused;
  dialog.returnValue = "";
  dialog.addEventListener("close", () => {
    resolve(dialog.returnValue === "use" ? byId("key").value.trim() : "");
    byId("key").value = "";
  }, { once: true });
  dialog.showModal();
}));

/** The button that changes between light and dark; without it the system decides. */
function wireTheme() {
  const root = document.documentElement;
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to ${isDark() ? "light" : "dark"} colours`);
  };
  system.addEventListener("change", show);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("sentiscale-theme", root.dataset.theme);
    } catch { /* a browser may refuse to remember; the button works all the same */ }
    show();
  });
  show();
}

byId("address").textContent = new URL(".", location.href).href;
wireTheme();
learnModel();
