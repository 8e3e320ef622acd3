/* Requests to the server: waits and tries again where it is busy or away, asks for an API key where it wants one. */

const LONGEST_WAIT_S = 30;
const TRIES = { busy: 10, away: 4 };
const SILENCE_S = 60;

/** The server answered, and refused. */
export class Refused extends Error {
  constructor(status, { code = "", message = "", limit = null } = {}) {
    super(message || `The server answered with status ${status}.`);
    this.status = status;
    this.code = code;
    this.limit = limit;
  }
}

/** The server did not answer, or stayed too busy for too long. */
export class Unavailable extends Error {}

let key = "";
let askForKey = async () => "";
let asked = null;

/** Sets what is called when the server wants an API key: async (wasRefused) => key, or "" for none. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/**
 * The answer of the server as JSON; a POST where there is a `body`.
 * `onWait(sentence)` is called before each wait, and with "" after it.
 * Throws Refused, Unavailable, or an AbortError when `signal` is aborted.
 */
export async function call(path, { body, signal, onWait = () => {} } = {}) {
  const tries = { busy: 0, away: 0 };
  for (;;) {
    const usedKey = key;
    const { answer, problem, retryAfter } = await once(path, body, signal);
    if (answer !== undefined) return answer;
    if (problem === "key") {
      await newKey(usedKey);
    } else {
      tries[problem] += 1;
      if (tries[problem] >= TRIES[problem]) throw new Unavailable(SENTENCES[problem]);
      const seconds = waitingTime(tries[problem], retryAfter);
      onWait(`${SENTENCES[problem]} Trying again in ${Math.max(1, Math.round(seconds))} s.`);
      await pause(seconds, signal);
      onWait("");
    }
  }
}

const SENTENCES = {
  busy: "The server is busy.",
  away: "The server does not answer. Is it still running?",
};

/** One attempt: an answer, or the kind of problem that another attempt may overcome. */
async function once(path, body, signal) {
  let response;
  let document;
  try {
    ({ response, document } = await send(path, body, signal));
  } catch (error) {
    if (signal?.aborted) throw error;
    return { problem: "away" };
  }
  if (response.ok && document !== null) return { answer: document };
  if (response.status === 401) return { problem: "key" };
  const retryAfter = response.headers.get("Retry-After");
  if (response.status === 429 || response.status === 503) return { problem: "busy", retryAfter };
  if (response.status === 502 || document === null) return { problem: "away", retryAfter };
  throw new Refused(response.status, document.error);
}

async function send(path, body, signal) {
  const silence = new AbortController();
  const stop = () => silence.abort();
  const timer = setTimeout(stop, SILENCE_S * 1000);
  signal?.addEventListener("abort", stop);
  try {
    signal?.throwIfAborted();
    const response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(key ? { Authorization: `Bearer ${key}` } : {}),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "same-origin",
      signal: silence.signal,
    });
    const document = await response.json().catch((error) => {
      if (silence.signal.aborted) throw error;
      return null; // not JSON: something between here and the server answered
    });
    return { response, document };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** Asks for a key once, however many requests wait for it. */
async function newKey(usedKey) {
  if (key !== usedKey) return; // another request has asked in the meantime
  asked ??= askForKey(usedKey !== "").finally(() => {
    asked = null;
  });
  const given = await asked;
  if (!given) throw new Refused(401, { code: "unauthorized", message: "This server wants an API key." });
  key = given;
}

/** Seconds: what the server asks for, else 1, 2, 4 … with some chance, so that many pages do not return as one. */
function waitingTime(attempt, retryAfter) {
  const wanted = retryAfter === null || retryAfter === undefined ? NaN : secondsOf(retryAfter);
  const own = 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
  return Math.min(LONGEST_WAIT_S, Math.max(0.2, Number.isNaN(wanted) ? own : wanted));
}

function secondsOf(retryAfter) {
  const seconds = Number(retryAfter);
  return Number.isNaN(seconds) ? (Date.parse(retryAfter) - Date.now()) / 1000 : seconds;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
