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
  if (!model.tuned_for_chat)
    note("This is a base model: it was trained to continue text, and not to answer. Expect text in the form of its training data.");
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
    if (field.name !== "system" && field.value !== "") chosen[field.name] = Number(field.value);
  }
  return chosen;
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
  messages.push({ role: "user", content: question });
  bubble("user", question);
  const place = bubble("assistant", "");
  const article = place.parentElement;
  article.classList.add("writing");
  const facts = article.appendChild(document.createElement("small"));
  running = new AbortController();
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
        messages: system ? [{ role: "system", content: system }, ...messages] : messages,
      }),
      signal: running.signal,
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      if (event.usage) usage = event.usage;
      const choice = event.choices[0];
      if (!choice) continue;
      reason = choice.finish_reason ?? reason;
      if (choice.delta.content) {
        first ??= performance.now();
        pieces += 1;
        const low = at("chat").scrollHeight - at("chat").scrollTop - at("chat").clientHeight < 60;
        place.textContent = written += choice.delta.content;
        facts.textContent = speed();
        if (low) at("chat").scrollTop = at("chat").scrollHeight;
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
  if (written.trim() && !article.classList.contains("wrong")) messages.push({ role: "assistant", content: written });
  else {
    messages.pop();
    if (!place.textContent) place.textContent = "(the model wrote nothing)";
  }
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
at("new").addEventListener("click", () => {
  running?.abort();
  messages = [];
  at("chat").replaceChildren();
  at("text").focus();
});
settings.addEventListener("submit", (event) => event.preventDefault());
start();
