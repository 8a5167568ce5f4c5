"use strict";
const at = (id) => document.getElementById(id);
const settings = at("settings");
let model = null;
let messages = [];
let running = null; // the AbortController of the answer that is being written

async function start() {
  try {
    const answer = await (await fetch("v1/models")).json();
    model = answer.data[0];
  } catch {
    return note("The server does not answer. Is it still running?");
  }
  document.title = at("model").textContent = model.id;
  at("facts").textContent = `${model.manifest.slice(0, 12)} · ${model.context_length.toLocaleString("en")} tokens of context`;
  at("facts").title = `artifact ${model.manifest}`;
  if (model.system) settings.elements.system.placeholder = model.system;
  const found = model.documents;
  if (found) {
    document.body.classList.remove("without");
    at("switch").lastElementChild.textContent = `(${found.passages.toLocaleString("en")} passages)`;
    settings.elements.retrieve.max = found.most;
    settings.elements.retrieve.value = found.retrieve;
  }
  note([
    model.tuned_for_chat ? "" : "This is a base model: it was trained to continue text, and not to answer. Expect text in the form of its training data.",
    found && !found.trained_on ? "It was not trained on the documents that it can read." : "",
  ].join(" ").trim());
}

function note(text) {
  at("note").textContent = text;
  at("note").hidden = !text;
}

function bubble(role, text) {
  const article = document.createElement("article");
  article.className = role;
  const content = article.appendChild(document.createElement("p"));
  content.textContent = text; // never as HTML
  at("chat").append(article);
  at("chat").scrollTop = at("chat").scrollHeight;
  return content;
}

function options() {
  const chosen = { max_tokens: null };
  for (const field of settings.elements) {
    if (field.name === "retrieve" && !at("documents").checked) continue;
    if (field.name !== "system" && field.value !== "") chosen[field.name] = Number(field.value);
  }
  return chosen;
}

// Who has scrolled up to read stays there.
function keepLow(change) {
  const chat = at("chat");
  const low = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 60;
  change();
  if (low) chat.scrollTop = chat.scrollHeight;
}

// The passages that the model read, beside its answer. Texts of documents are never HTML.
function cite(article, passages, leftOut) {
  const aside = document.createElement("aside");
  const told = passages.length ? "Read before the answer:" : leftOut ? "" : "No passage shares a word with the question.";
  const add = (parent, kind, text) => Object.assign(parent.appendChild(document.createElement(kind)), { textContent: text });
  if (told) add(aside, "div", told);
  const list = aside.appendChild(document.createElement("ol"));
  for (const [number, passage] of passages.entries()) {
    const details = list.appendChild(document.createElement("li")).appendChild(document.createElement("details"));
    details.open = number === 0 && innerWidth >= 1024;
    add(details, "summary", `${number + 1}. ${passage.place ?? passage.url ?? passage.doc_id}`);
    add(details, "blockquote", passage.text);
    if (passage.url && URL.canParse(passage.url) && ["http:", "https:"].includes(new URL(passage.url).protocol))
      Object.assign(add(details, "a", passage.url), { href: passage.url, target: "_blank", rel: "noopener noreferrer" });
    add(details, "code", `document ${passage.doc_id}, character ${passage.start}`);
  }
  if (leftOut) add(aside, "div", `${leftOut} ${passages.length ? "more " : ""}did not fit into the context.`);
  article.append(aside);
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function ask(question) {
  const conversation = messages; // "New chat" makes another one
  conversation.push({ role: "user", content: question });
  bubble("user", question);
  const place = bubble("assistant", "");
  const article = place.parentElement;
  article.classList.add("writing");
  const facts = article.appendChild(document.createElement("small"));
  const answer = running = new AbortController();
  at("send").textContent = "Stop";
  const system = settings.elements.system.value.trim();
  const began = performance.now();
  let first = null, pieces = 0, usage = null, reason = null, written = "";
  const speed = () => {
    const tokens = usage ? usage.completion_tokens : pieces;
    const seconds = (performance.now() - first) / 1000;
    const rate = tokens > 1 && seconds > 0 ? ` · ${((tokens - 1) / seconds).toFixed(1)} tokens per second` : "";
    return `${tokens} tokens${rate} · first after ${((first - began) / 1000).toFixed(2)} s`;
  };
  try {
    const response = await fetch("v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        model: model.id, stream: true, stream_options: { include_usage: true }, ...options(),
        messages: system ? [{ role: "system", content: system }, ...conversation] : conversation,
      }),
      signal: answer.signal,
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      if (event.usage) usage = event.usage;
      if (event.citations) keepLow(() => cite(article, event.citations, event.citations_left_out));
      const choice = event.choices[0];
      if (!choice) continue;
      reason = choice.finish_reason ?? reason;
      if (choice.delta.content) {
        first ??= performance.now();
        pieces += 1;
        written += choice.delta.content;
        keepLow(() => {
          place.textContent = written;
          facts.textContent = speed();
        });
      }
    }
    place.textContent = written.trim();
    if (first !== null) facts.textContent = speed() + (reason === "length" ? " · cut at the limit of tokens" : "");
  } catch (error) {
    const stopped = error.name === "AbortError";
    facts.textContent = stopped ? "stopped" : "";
    if (!stopped) {
      article.classList.add("wrong");
      place.textContent = written + (written ? "\n\n" : "") + error.message;
    }
  }
  article.classList.remove("writing");
  // The turns must alternate, so a question without an answer leaves the conversation.
  if (written.trim() && !article.classList.contains("wrong")) conversation.push({ role: "assistant", content: written });
  else {
    conversation.pop();
    if (!place.textContent) place.textContent = "(the model wrote nothing)";
  }
  if (running === answer) idle();
}

function idle() {
  running = null;
  at("send").textContent = "Send";
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return running.abort();
  const question = at("text").value.trim();
  if (!question || !model) return;
  if (!settings.reportValidity()) return settings.classList.add("open");
  at("text").value = "";
  ask(question);
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!running) at("ask").requestSubmit();
  }
});
at("toggle").addEventListener("click", () => {
  at("toggle").setAttribute("aria-expanded", settings.classList.toggle("open"));
});
at("documents").addEventListener("change", () => {
  document.body.classList.toggle("cited", at("documents").checked || document.querySelector("aside") !== null);
});
at("new").addEventListener("click", () => {
  running?.abort();
  idle();
  messages = [];
  at("chat").replaceChildren();
  at("text").focus();
});
settings.addEventListener("submit", (event) => event.preventDefault());
start();
