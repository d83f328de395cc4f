"use strict";
// The table is whole as it stands; this sorts, filters, hides and compares what is in it.
const body = document.querySelector("#board tbody");
if (body) start();

function start() {
  const find = (id) => document.getElementById(id);
  const heads = [...document.querySelectorAll("#board thead th")], rows = [...body.rows];
  const trait = (n) => heads[n].classList.contains("trait");
  const worded = heads.map((_, n) => n).filter((n) => n === 1 || n === 2 || trait(n));
  const words = rows.map((row) => worded.map((n) => row.cells[n].textContent).join(" ").toLowerCase());
  const title = (n) => (heads[n].querySelector("button") || heads[n]).textContent;

  function make(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  // A first click on a number shows the best first; empty cells stay last either way,
  // and after them all what saw only a part of each task.
  function sort(head) {
    const n = head.cellIndex, number = head.classList.contains("n");
    const first = number && !("down" in head.dataset) ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.ariaSort === first ? other : first, sign = order === "ascending" ? 1 : -1;
    for (const each of heads) if (each.ariaSort) each.ariaSort = "none";
    head.ariaSort = order;
    const key = new Map(rows.map((row) => [row, number ? row.cells[n].dataset.v : row.cells[n].textContent || undefined]));
    const compare = new Intl.Collator(undefined, {numeric: true}).compare;
    const limited = (row) => row.dataset.kind.includes("limited");
    body.append(...[...rows].sort((a, b) => {
      if (limited(a) !== limited(b)) return limited(a) - limited(b);
      const x = key.get(a), y = key.get(b);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return sign * (number ? x - y : compare(x, y));
    }));
  }
  for (const head of heads) {
    const button = head.querySelector("button");
    if (button) button.onclick = () => sort(head);
  }

  function filter() {
    const asked = find("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = [...document.querySelectorAll(".kind:not(:checked)")].map((box) => box.value);
    let count = 0;
    rows.forEach((row, n) => {
      const kinds = row.dataset.kind.split(" ");
      row.hidden = !asked.every((word) => words[n].includes(word)) || off.some((kind) => kinds.includes(kind));
      count += !row.hidden;
    });
    find("shown").textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
  }
  find("find").oninput = filter;
  for (const box of document.querySelectorAll(".kind")) box.onchange = filter;

  heads.forEach((head, n) => {
    if (n < 2) return;
    const label = make("label"), box = make("input");
    box.type = "checkbox";
    if (n === 2 && matchMedia("(max-width: 640px)").matches) show(n, false);  // room for scores
    box.checked = !head.hidden;
    box.onchange = () => {
      show(n, box.checked);
      if (!find("compare").hidden) compare();
    };
    label.append(box, " " + title(n));
    find("columns").append(label);
  });
  function show(n, shown) {
    heads[n].hidden = !shown;
    for (const row of rows) row.cells[n].hidden = !shown;
  }

  const picked = () => [...body.rows].filter((row) => row.cells[0].firstElementChild.checked);
  function choose() {
    const count = picked().length;
    find("chosen").hidden = !count;
    find("picked").textContent = count === 1 ? "1 chosen: one more to compare" : `${count} chosen`;
    find("do").disabled = count < 2;
    for (const row of rows) row.classList.toggle("picked", row.cells[0].firstElementChild.checked);
    if (!find("compare").hidden) compare();
  }
  for (const row of rows) row.cells[0].firstElementChild.onchange = choose;
  find("do").onclick = () => { compare(); find("compare").scrollIntoView(); };
  find("none").onclick = () => {
    for (const row of picked()) row.cells[0].firstElementChild.checked = false;
    choose();
  };

  // As scores.number writes it.
  function number(n, value, ...beside) {
    const largest = Math.max(...[value, ...beside].map(Math.abs));
    const places = "percent" in heads[n].dataset || largest >= 10 ? 2 : 4;
    return largest >= 1e6 ? value.toPrecision(4) : value.toFixed(places);
  }

  // Tasks down, models across; each difference is to the first model, with its own standard error
  // as of two independent measurements. `make compare` knows which samples they share.
  function compare() {
    const chosen = picked(), section = find("compare");
    section.hidden = chosen.length < 2;
    section.replaceChildren();
    if (section.hidden) return;
    const wide = make("div", undefined, "wide"), table = make("table"), top = make("tr");
    const corner = make("th", "Task");
    corner.scope = "col";
    top.append(corner);
    for (const row of chosen) {
      const head = make("th", undefined, "n");
      head.scope = "col";
      head.append(...[...row.cells[1].childNodes].map((node) => node.cloneNode(true)));
      top.append(head);
    }
    const thead = make("thead"), tbody = make("tbody");
    thead.append(top);
    for (let n = 3; n < heads.length; n++) {
      if (heads[n].hidden || trait(n) || !chosen.some((row) => "v" in row.cells[n].dataset)) continue;
      const line = make("tr"), name = make("th", title(n));
      name.scope = "row";
      name.append(" ", make("small", heads[n].querySelector("small").textContent));
      line.append(name);
      const first = chosen[0].cells[n];
      for (const row of chosen) {
        const cell = row.cells[n].cloneNode(true), from = row.cells[n];
        cell.hidden = false;
        cell.classList.remove("best", "tied");
        line.append(cell);
        if (row.dataset.limit !== chosen[0].dataset.limit) {  // other samples: nothing to subtract
          cell.append(make("small", "another limit", "by"));
          continue;
        }
        if (from !== first && "v" in from.dataset && "v" in first.dataset && from.dataset.k !== first.dataset.k) {
          cell.append(make("small", "measured otherwise", "by"));  // another harness, say
          continue;
        }
        if (from === first || !("v" in from.dataset) || !("v" in first.dataset) || from.dataset.m !== first.dataset.m) continue;
        const by = from.dataset.v - first.dataset.v, known = "e" in from.dataset && "e" in first.dataset;
        const error = known ? Math.hypot(from.dataset.e, first.dataset.e) : 0;
        const noise = known && Math.abs(by) <= 1.96 * error;
        const better = ("down" in heads[n].dataset ? -by : by) > 0;
        const near = [+from.dataset.v, +first.dataset.v];
        const said = `${by < 0 ? "−" : "+"}${number(n, Math.abs(by), ...near)}${known ? " ±" + number(n, error, ...near) : ""}`;
        const small = make("small", noise ? `${said} noise` : said, noise || !by ? "by" : better ? "by up" : "by down");
        cell.append(small);
      }
      tbody.append(line);
    }
    table.append(thead, tbody);
    wide.append(table);
    const close = make("button", "Close");
    close.onclick = () => { section.hidden = true; };
    const about = make("p", "Second lines: difference to the first model, ± its standard error if both are "
      + "independent; “noise” is less than 1.96 of it; green is better, red is worse. make compare uses the samples that both saw. ", "quiet");
    section.append(make("h2", "Comparison"), about, wide, make("br"), close);
  }

  // The page scrolls inside <main>, which the keyboard reaches at once; what the browser keeps of
  // how far a page was scrolled is only the window's.
  const all = find("all"), kept = `scroll ${location.pathname}`;
  all.focus({preventScroll: true});
  try {
    const [type] = performance.getEntriesByType("navigation"), before = sessionStorage.getItem(kept);
    if (before && type && type.type !== "navigate") all.scrollTo(...before.split(" ").map(Number));
    addEventListener("pagehide", () => sessionStorage.setItem(kept, `${all.scrollLeft} ${all.scrollTop}`));
  } catch { /* no storage for pages from the disk: back at the top */ }

  filter();
}
