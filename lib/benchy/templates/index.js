"use strict";
// The table is whole as it stands; this sorts, filters, hides and compares what is in it.
const body = document.querySelector("tbody");
if (body) start();

function start() {
  const find = (id) => document.getElementById(id);
  const heads = [...document.querySelectorAll("thead th")], rows = [...body.rows];
  const words = rows.map((row) => (row.cells[1].textContent + " " + row.cells[2].textContent).toLowerCase());
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
    const key = new Map(rows.map((row) => [row, number ? row.cells[n].dataset.v : row.cells[n].textContent]));
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
    box.checked = true;
    box.onchange = () => {
      head.hidden = !box.checked;
      for (const row of rows) row.cells[n].hidden = !box.checked;
      if (!find("compare").hidden) compare();
    };
    label.append(box, " " + title(n));
    find("columns").append(label);
  });

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
      if (heads[n].hidden || !chosen.some((row) => "v" in row.cells[n].dataset)) continue;
      const line = make("tr"), name = make("th", title(n));
      name.scope = "row";
      name.append(" ", make("small", heads[n].querySelector("small").textContent));
      line.append(name);
      const first = chosen[0].cells[n];
      for (const row of chosen) {
        const cell = row.cells[n].cloneNode(true), from = row.cells[n];
        cell.hidden = false;
        cell.classList.remove("best");
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
        const said = `${by < 0 ? "−" : "+"}${Math.abs(by).toFixed(1)}${known ? " ±" + error.toFixed(1) : ""}`;
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
      + "independent; “noise” is less than 1.96 of it. make compare uses the samples that both saw. ", "quiet");
    section.append(make("h2", "Comparison"), about, wide, make("br"), close);
  }

  filter();
}
