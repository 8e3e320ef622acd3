// Draws /openapi.json: every operation with its parameters and answers, then the forms they refer to.
"use strict";

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function nameOf(reference) {
  return reference.split("/").pop();
}

// A form in words: "list of string", "Word", "number or null".
function shape(form) {
  if (!form) return document.createTextNode("");
  if (form.$ref) {
    const link = element("a", nameOf(form.$ref));
    link.href = "#" + nameOf(form.$ref);
    return link;
  }
  const choices = form.anyOf || form.oneOf;
  if (choices) {
    const parts = choices.flatMap((choice, place) => (place ? [" or ", shape(choice)] : [shape(choice)]));
    return element("span", "", ...parts);
  }
  if (form.type === "array") return element("span", "", "list of ", shape(form.items));
  if (form.const !== undefined) return document.createTextNode(JSON.stringify(form.const));
  if (form.enum) return document.createTextNode(form.enum.map((one) => JSON.stringify(one)).join(" or "));
  return document.createTextNode(form.type || "anything");
}

const LIMITS = {
  minLength: "least characters", maxLength: "most characters", minItems: "least entries",
  maxItems: "most entries", minimum: "least", maximum: "most",
};

function limits(form) {
  const own = Object.keys(LIMITS).filter((key) => key in form).map((key) => `${LIMITS[key]} ${form[key]}`);
  const inner = form.items && !form.items.$ref ? limits(form.items) : "";
  return [...own, inner && `each: ${inner}`].filter(Boolean).join(", ");
}

function table(heads, rows) {
  const head = element("tr", "", ...heads.map((text) => element("th", text)));
  head.querySelectorAll("th").forEach((cell) => { cell.scope = "col"; });
  const made = element("table", "", element("thead", "", head), element("tbody", "", ...rows));
  const scroll = element("div", "", made);
  scroll.className = "scroll";
  return scroll;
}

function row(...cells) {
  return element("tr", "", ...cells.map((cell) => element("td", "", cell)));
}

function bodyOf(part) {
  const kinds = Object.entries((part && part.content) || {});
  return kinds.length ? kinds[0] : ["", {}];
}

function curl(method, path, form) {
  const lines = [`curl ${location.origin}${path}`];
  if (method === "post") {
    lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify((form && form.example) || {})}'`);
  }
  return lines.join(" \\\n  ");
}

function operation(path, method, described, schemas) {
  const title = element("h2");
  const verb = element("span", method.toUpperCase());
  verb.className = "method";
  title.append(verb, element("code", path));
  const section = element("section", "", title, element("p", described.description || described.summary));
  const [, body] = bodyOf(described.requestBody);
  if (body.schema) section.append(element("p", "", "Body: ", shape(body.schema)));
  const form = body.schema && body.schema.$ref && schemas[nameOf(body.schema.$ref)];
  section.append(element("pre", curl(method, path, form)));
  const answers = Object.entries(described.responses).map(([status, answer]) => {
    const [kind, content] = bodyOf(answer);
    const drawn = content.schema && Object.keys(content.schema).length ? shape(content.schema) : kind;
    return row(element("code", status), answer.description, drawn);
  });
  section.append(table(["Status", "When", "Answer"], answers));
  return section;
}

function schema(name, form) {
  const title = element("h3", name);
  title.id = name;
  const needed = new Set(form.required || []);
  const fields = Object.entries(form.properties || {}).map(([field, inner]) => row(
    element("code", field), shape(inner), needed.has(field) ? "always" : "optional",
    [inner.description, limits(inner)].filter(Boolean).join(" "),
  ));
  return element("section", "", title, element("p", form.description || ""),
    table(["Field", "Kind", "There", "Meaning and limits"], fields));
}

async function draw() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`openapi.json was answered ${answer.status}`);
  const api = await answer.json();
  const schemas = (api.components && api.components.schemas) || {};
  document.getElementById("intro").append(element("p", api.info.description || ""));
  const drawn = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => operation(path, method, described, schemas)));
  document.getElementById("operations").replaceChildren(...drawn);
  document.getElementById("schemas").append(...Object.entries(schemas).map(([name, form]) => schema(name, form)));
}

draw().catch((error) => {
  document.getElementById("operations").textContent = `The interface could not be drawn: ${error.message}.`;
});
