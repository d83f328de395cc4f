"use strict";
// The samples: their script files call samples() and whole(), one after another, when somebody asks.
const PAGE = 20, got = new Map(), waiting = new Map();
const find = (id) => document.getElementById(id);
let page = 0, drawn = "";

// As visible.HIDDEN: what hides or reorders text is shown by its number.
const HIDDEN = /[\0-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;
const number = (char) => "U+" + char.codePointAt().toString(16).toUpperCase().padStart(4, "0");

function put(node, text) {
  let at = 0;
  for (const {0: char, index} of text.matchAll(HIDDEN)) {
    const shown = document.createElement("span");
    shown.className = "hidden-char";
    shown.textContent = number(char);
    node.append(text.slice(at, index), shown);
    at = index + char.length;
  }
  node.append(text.slice(at));
}

function make(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) put(made, text);
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
  select.replaceChildren(new Option("all", ""), ...names.map((name) => new Option(name.replace(HIDDEN, number), name)));
  select.value = before;
}

function chosen(mine) {
  const sub = find("sub").value, ok = find("ok").value, word = find("search").value.toLowerCase();
  return mine.list.filter((s) => (!sub || s.task === sub) && (!ok || s.ok === +ok)
    && (!word || [prompt(s), shown(s, "answer"), flat(s.target)].some((text) => text.toLowerCase().includes(word))));
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

// A value as one text. A long one has only its head and tail, a long list only some of its items;
// several answers have their numbers.
function flat(value) {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return value.left ? "…" : `${value.head} … ${value.tail}`;
  return numbered(value).map(([n, one]) => n ? `${n}. ${flat(one)}` : flat(one)).join("\n");
}

// [number, item] of a list; those left out have none.
function numbered(list) {
  let n = 0;
  return list.map((one) => one.left ? [(n += one.left, 0), one] : [++n, one]);
}

function prompt(s) {
  return s.turns ? s.turns.map((t) => t.left ? "…" : `[${t[0]}] ${flat(t[1])}`).join("\n\n") : flat(s.prompt);
}

// An answer without text is said to be empty, not shown as nothing.
function shown(s, field) {
  return s.empty && s.empty.includes(field) ? "(empty)" : flat(s[field]);
}

// A long prompt's beginning and, as examples come first, more of its end; of a chat, who spoke last.
function line(s) {
  const last = s.turns && s.turns.findLast((t) => t[0] === "user" || t === s.turns[0]);
  const words = (last ? flat(last[1]) : prompt(s)).trim().replace(/\s+/g, " ");
  const short = words.length <= 150 ? words : `${words.slice(0, 60)} … ${words.slice(-85)}`;
  return last ? `${last[0]}: ${short}` : short;
}

function one(s, at) {
  const item = make("details", undefined, `ok${s.ok}`), top = make("summary");
  const verdict = s.ok < 0 ? Object.entries(s.scores).map(([k, v]) => `${k} ${v}`)[0] || "·" : s.ok ? "✓ right" : "✗ wrong";
  const head = make("b", verdict);
  head.append(make("br"), make("i", `#${s.id}`));
  const short = (text) => text.slice(0, 160).replace(/\s+/g, " ");
  const spans = [line(s), `→ ${short(shown(s, "answer"))}`, `expected: ${short(flat(s.target))}`].map((t) => make("span", t));
  for (const span of spans) span.dir = "auto";
  top.append(head, ...spans);
  item.append(top);
  item.ontoggle = () => { if (item.open && item.childElementCount === 1) fill(item, s, at); };
  return item;
}

function fill(item, s, at) {
  item.append(make("p", `${s.task} · filter ${s.filter} · ` + Object.entries(s.scores).map(([k, v]) => `${k} ${v}`).join(", "), "quiet"));
  const fields = {turns: "Prompt", prompt: "Prompt", target: "Expected", answer: "Answer", raw: "Answer before the filter",
    choices: "Choices, with their log-likelihood"};
  for (const [field, title] of Object.entries(fields)) {
    if (s[field] === undefined) continue;
    const about = field === "turns" ? "turns" : field === "target" ? "answers, each of them right" : "answers to the same prompt";
    const several = Array.isArray(s[field]) && field !== "choices" && s[field].length > 1;
    const count = several && s[field].reduce((n, one) => n + (one.left || 1), 0);
    item.append(make("h4", several ? `${title}: ${count} ${about}` : title));
    const box = make("div");
    draw_field(box, s, field, s[field]);
    item.append(box);
    if (!(s.long && s.long.includes(field))) continue;
    const size = s[field].size, button = make("button", size ? `Show all ${size.toLocaleString("en")} characters` : "Show all of it");
    button.onclick = () => {
      s.whole ??= new Promise((yes, no) => { waiting.set(s.file, yes); load(`${at}/${s.file}`, no); });
      s.whole.then((texts) => { box.replaceChildren(); draw_field(box, s, field, texts[field]); button.remove(); },
        () => { s.whole = undefined; button.textContent = "its file is missing: make report"; });
    };
    item.append(button);
  }
}

function draw_field(box, s, field, value) {
  if (s.empty && s.empty.includes(field)) box.append(block("(empty)", "quiet"));
  else if (field === "turns") box.append(...turns(value));
  else if (field === "choices") box.append(choices(s, value));
  else if (!Array.isArray(value)) box.append(block(value));
  else {
    const list = make("ol");
    for (const [n, one] of numbered(value)) {
      const line = make("li");
      line.append(n ? block(one === "" ? "(empty)" : one, one === "" ? "quiet" : undefined) : gap(`${one.left} more`));
      if (n) line.value = n; else line.className = "gap";
      list.append(line);
    }
    box.append(list);
  }
}

function gap(words) {
  return make("span", `… ${words} …`, "gap");
}

function block(text, name) {
  const made = make("pre", undefined, name);
  made.dir = "auto";
  if (typeof text === "string") put(made, text);
  else {
    put(made, text.head);
    made.append("\n", gap(`${(text.size - text.head.length - text.tail.length).toLocaleString("en")} characters`), "\n");
    put(made, text.tail);
  }
  return made;
}

// Of a long chat, the system prompt, the first exchange and the question are open, what is between
// them on demand.
function turns(list) {
  const made = list.map((turn) => {
    const box = make("div", undefined, "turn");
    if (turn.left) box.append(gap(`${turn.left} turns`));
    else {
      box.dataset.role = turn[0];
      box.append(make("h5", turn[0]), block(turn[1] === "" ? "(empty)" : turn[1], turn[1] === "" ? "quiet" : undefined));
    }
    return box;
  });
  const first = list[0][0] === "system" ? 3 : 2, last = list.at(-1)[0] === "assistant" ? 2 : 1;
  const middle = list.slice(first, -last), count = middle.reduce((n, turn) => n + (turn.left || 1), 0);
  if (middle.length < 2) return made;
  const between = make("details", undefined, "between");
  between.append(make("summary", `${count} turns between`), ...made.splice(first, middle.length, between));
  return made;
}

function choices(s, pairs) {
  const table = make("table"), list = make("tbody");
  for (const pair of pairs) {
    const row = make("tr");
    if (pair.left) row.append(make("td", `… ${pair.left} more …`, "gap"), make("td"), make("td"));
    else {
      const [choice, likely] = pair, name = make("td", flat(choice)), same = (text) => flat(text) === flat(choice);
      name.dir = "auto";
      const mark = [same(s.target) && "expected", same(s.answer) && "chosen"].filter(Boolean).join(", ");
      row.append(name, make("td", likely === null ? "" : likely.toFixed(3), "n"), make("td", mark));
    }
    list.append(row);
  }
  table.append(list);
  return table;
}

for (const button of document.querySelectorAll("button.open")) {
  button.onclick = () => { open(button.dataset.task); find("samples").scrollIntoView(); };
}
find("task").onchange = () => open(find("task").value);
const again = () => { page = 0; draw(); };
find("sub").onchange = find("ok").onchange = find("search").oninput = again;
find("back").onclick = () => { page--; draw(); };
find("next").onclick = () => { page++; draw(); };
