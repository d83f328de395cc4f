"use strict";
// The samples: their script files call samples() and whole(), one after another, when somebody asks.
const PAGE = 20, got = new Map(), waiting = new Map();
const find = (id) => document.getElementById(id);
let page = 0, drawn = "";

function make(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function load(from, failed) {
  const script = make("script");
  script.onerror = failed;
  script.src = from;
  document.head.append(script);
}

function samples(task, part, list) {
  const mine = got.get(task);
  if (part !== mine.parts + 1) return;
  for (const sample of list) mine.list.push(sample);
  mine.parts = part;
  more(task);
  if (find("task").value === task) { subs(); draw(); }
}

function whole(name, texts) {
  waiting.get(name)(texts);
}

function more(task) {
  const mine = got.get(task);
  if (mine.parts < mine.all) {
    load(`${mine.at}/samples-${mine.parts + 1}.js`, () => { mine.lost = true; draw(); });
  }
}

function open(task) {
  find("task").value = task;
  find("samples").hidden = false;
  if (!got.has(task)) {
    const {parts, at} = find("task").selectedOptions[0].dataset;
    got.set(task, {list: [], parts: 0, all: +parts, at});
    more(task);
  }
  page = 0;
  find("sub").replaceChildren();
  subs();
  draw();
}

function subs() {
  const select = find("sub"), names = [...new Set(got.get(find("task").value).list.map((s) => s.task))];
  if (select.length === names.length + 1) return;
  const before = select.value;
  select.replaceChildren(new Option("all", ""), ...names.map((name) => new Option(name, name)));
  select.value = before;
}

function chosen(mine) {
  const sub = find("sub").value, ok = find("ok").value, word = find("search").value.toLowerCase();
  return mine.list.filter((s) => (!sub || s.task === sub) && (!ok || s.ok === +ok)
    && (!word || [s.prompt, shown(s, "answer"), s.target].some((text) => text.toLowerCase().includes(word))));
}

function draw() {
  const mine = got.get(find("task").value);
  if (!mine) return;
  const list = chosen(mine), pages = Math.max(1, Math.ceil(list.length / PAGE));
  page = Math.min(page, pages - 1);
  const right = list.filter((s) => s.ok === 1).length, wrong = list.filter((s) => s.ok === 0).length;
  const rest = mine.lost ? "; some files are missing: make report" : mine.parts < mine.all ? "; loading…" : "";
  find("where").textContent = `page ${page + 1} of ${pages} · ${list.length} samples`
    + (right + wrong ? `, ${right} right, ${wrong} wrong` : "") + rest;
  find("back").disabled = !page;
  find("next").disabled = page === pages - 1;
  // What is on the screen stays, opened or not, while more is loaded.
  const here = list.slice(page * PAGE, page * PAGE + PAGE);
  const key = here.map((s) => `${s.task}/${s.id}/${s.filter}`).join();
  if (key === drawn && find("list").childElementCount) return;
  drawn = key;
  find("list").replaceChildren(...here.map((s) => one(s, mine.at)));
}

// An answer without text is said to be empty, not shown as nothing.
function shown(s, field) {
  return s.empty && s.empty.includes(field) ? "(empty)" : s[field];
}

// The end of a prompt tells more than its beginning, which the examples of all share.
function line(text) {
  const words = text.slice(-400).trim().replace(/\s+/g, " ");
  return words.length < 90 && text.length < 400 ? words : "…" + words.slice(-88);
}

function one(s, at) {
  const item = make("details", undefined, `ok${s.ok}`), top = make("summary");
  const verdict = s.ok < 0 ? Object.entries(s.scores).map(([k, v]) => `${k} ${+v.toFixed(2)}`)[0] || "·" : s.ok ? "✓ right" : "✗ wrong";
  const head = make("b", verdict);
  head.append(make("br"), make("i", `#${s.id}`));
  const spans = [line(s.prompt), `→ ${shown(s, "answer").slice(0, 160)}`, `expected: ${s.target.slice(0, 160)}`].map((t) => make("span", t));
  for (const span of spans) span.dir = "auto";
  top.append(head, ...spans);
  item.append(top);
  item.ontoggle = () => { if (item.open && item.childElementCount === 1) fill(item, s, at); };
  return item;
}

function fill(item, s, at) {
  item.append(make("p", `${s.task} · filter ${s.filter} · ` + Object.entries(s.scores).map(([k, v]) => `${k} ${v}`).join(", "), "quiet"));
  const fields = {prompt: "Prompt", target: "Expected", answer: "Answer", raw: "Answer before the filter"};
  for (const [field, title] of Object.entries(fields)) {
    if (s[field] === undefined) continue;
    const text = make("pre", shown(s, field), s.empty && s.empty.includes(field) ? "quiet" : undefined);
    text.dir = "auto";
    item.append(make("h4", title), text);
    if (!(s.long && field in s.long)) continue;
    const button = make("button", `Show all ${s.long[field].toLocaleString("en")} characters`);
    button.onclick = () => {
      waiting.set(s.file, (texts) => { text.textContent = texts[field]; button.remove(); });
      load(`${at}/${s.file}`, () => { button.textContent = "its file is missing: make report"; });
    };
    item.append(button);
  }
  if (s.choices) {
    const table = make("table"), list = make("tbody");
    for (const [choice, likely] of s.choices) {
      const row = make("tr"), name = make("td", choice);
      name.dir = "auto";
      const mark = [choice === s.target && "expected", choice === s.answer && "chosen"].filter(Boolean).join(", ");
      row.append(name, make("td", likely === null ? "" : likely.toFixed(3), "n"), make("td", mark));
      list.append(row);
    }
    table.append(list);
    item.append(make("h4", "Choices, with their log-likelihood"), table);
  }
}

for (const button of document.querySelectorAll("button.open")) {
  button.onclick = () => { open(button.dataset.task); find("samples").scrollIntoView(); };
}
find("task").onchange = () => open(find("task").value);
const again = () => { page = 0; draw(); };
find("sub").onchange = find("ok").onchange = find("search").oninput = again;
find("back").onclick = () => { page--; draw(); };
find("next").onclick = () => { page++; draw(); };
