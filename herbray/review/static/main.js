"use strict";
// The page: receives the data, moves through the queue, and records verdicts.

const Review = (() => {
  const MOST_PRINTED = 500;
  const at = (id) => document.getElementById(id);
  let items = [];
  let shown = []; // places in the queue
  let here = 0; // place in `shown`
  let title = "";
  const done = []; // verdicts of this visit, for undo

  function receive(data) {
    items = data.items;
    title = data.title;
    document.title = at("title").textContent = title;
    at("shares").replaceChildren(...data.shares.map((line) => make("li", line)));
    at("made").textContent = data.about.join(". ") + ".";
    Sheet.begin(data.chunk);
    at("reviewer").value = remember("herbray-reviewer") || "";
    Store.begin(data, refresh);
    List.begin(items, go);
    Filters.begin(items, filter);
    at("filter-box").open = innerWidth > 900;
    at("names").replaceChildren(...[...new Set(items.flatMap((item) => [item.given, item.suggested]))].filter(Boolean).sort().slice(0, 3000).map((value) => make("option", null, { value })));
    filter();
    const rest = shown.findIndex((place) => !isMine(items[place]));
    go(Math.max(0, rest));
    refresh();
  }

  function remember(key, value) {
    try {
      if (value !== undefined) localStorage.setItem(key, value);
      return localStorage.getItem(key);
    } catch {
      return null; // the store tells the reviewer
    }
  }

  const reviewer = () => at("reviewer").value.trim();
  const current = () => items[shown[here]];

  function isMine(item) {
    const row = Store.last(item).get(reviewer());
    return Boolean(row) && row.verdict !== "open";
  }

  function filter() {
    const before = current();
    shown = Filters.apply(items, reviewer());
    List.show(shown);
    go(Math.max(0, shown.findIndex((place) => items[place] === before)));
    refresh();
  }

  function go(place) {
    here = Math.min(Math.max(0, place), Math.max(0, shown.length - 1));
    at("sheet").classList.toggle("empty", !shown.length);
    if (!shown.length) {
      at("heading").textContent = "No sheet fits these filters.";
      return;
    }
    List.select(here);
    Sheet.show(current(), shown[here]);
    Sheet.preload(items[shown[here + 1]]);
    const mine = Store.last(current()).get(reviewer());
    at("name").value = (mine && mine.name) || current().suggested || "";
    at("note").value = (mine && mine.note) || "";
    at("announced").textContent = `Sheet ${shown[here] + 1} of ${items.length}, filed as ${current().given.slice(0, 200)}`; // for screen readers
    markChosen();
  }

  // Shows what has changed in the store.
  function refresh() {
    const { alarm, where } = Store.state();
    at("alert").hidden = !alarm;
    if (at("alert").textContent !== alarm) at("alert").textContent = alarm;
    at("saved").textContent = where;
    const mine = items.filter(isMine).length;
    at("count").textContent = `${shown.length.toLocaleString("en")} of ${items.length.toLocaleString("en")} sheets; ${mine.toLocaleString("en")} judged by you`;
    List.draw();
    if (current()) Sheet.showSaid(current());
    markChosen();
  }

  function markChosen() {
    const row = current() && Store.last(current()).get(reviewer());
    for (const button of document.querySelectorAll("[data-verdict]")) {
      button.setAttribute("aria-pressed", Boolean(row) && row.verdict === button.dataset.verdict);
    }
  }

  function decide(verdict, name = null) {
    const item = current();
    if (!item) return;
    if (!reviewer()) {
      tell("Write your name first.");
      at("reviewer").focus();
      return;
    }
    const before = Store.last(item).get(reviewer()) || null;
    done.push({ item, before });
    record(item, verdict, name, at("note").value.trim() || null);
    tell(`Sheet ${shown[here] + 1}: ${WORDS[verdict]}${name ? `, ${name.slice(0, 100)}` : ""}.`);
    if (at("advance").checked) go(here + 1);
  }

  function record(item, verdict, name, note) {
    Store.add({ reviewer: reviewer(), specimen_id: item.id, rank: item.rank, given: item.given, verdict, name, note });
  }

  function accept() {
    const name = at("name").value.trim();
    if (!name) {
      tell("Write the right name first.");
      at("name").focus();
    } else if (current() && name === current().given) {
      tell("This is the filed name: judge it as right instead.");
    } else decide("wrong", name);
  }

  // A note on a sheet that has a verdict is kept at once; otherwise with the verdict.
  function keepNote() {
    const mine = current() && Store.last(current()).get(reviewer());
    const note = at("note").value.trim() || null;
    if (mine && mine.note !== note) record(current(), mine.verdict, mine.name, note);
  }

  function undo() {
    const last = done.pop() || (current() && isMine(current()) && { item: current(), before: null });
    if (!last) {
      tell("Nothing to take back.");
      return;
    }
    const { item, before } = last;
    record(item, before ? before.verdict : "open", before && before.name, before && before.note);
    if (!shown.some((place) => items[place] === item)) filter();
    go(shown.findIndex((place) => items[place] === item));
    tell(`Verdict on sheet ${shown[here] + 1} taken back.`);
  }

  function tell(text) {
    at("told").textContent = text;
    at("told").classList.remove("hidden");
    clearTimeout(tell.timer);
    tell.timer = setTimeout(() => at("told").classList.add("hidden"), 4000);
  }

  function download() {
    const link = make("a", null, { download: `verdicts-${reviewer().replace(/[^\p{L}\p{N}]+/gu, "-") || "reviewer"}.csv` });
    link.href = URL.createObjectURL(new Blob([Store.exportText()], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    tell(`${Store.count().toLocaleString("en")} rows exported.`);
  }

  async function importFiles(event) {
    for (const file of event.target.files) {
      try {
        const bytes = new Uint8Array(await file.arrayBuffer());
        const wide = { "255,254": "utf-16le", "254,255": "utf-16be" }[bytes.slice(0, 2).join(",")];
        const text = new TextDecoder(wide || "utf-8", { fatal: true }).decode(bytes);
        tell(`${file.name}: ${await Store.importText(text)} new rows.`);
      } catch (error) {
        const why = error instanceof TypeError ? "not UTF-8 text; save the table as “CSV UTF-8”" : error.message;
        at("alert").hidden = false;
        at("alert").textContent = `${file.name} was not imported: ${why}.`;
      }
    }
    event.target.value = "";
  }

  const KEYS = {
    j: () => go(here + 1), ArrowRight: () => go(here + 1), ArrowDown: () => go(here + 1),
    k: () => go(here - 1), ArrowLeft: () => go(here - 1), ArrowUp: () => go(here - 1),
    Home: () => go(0), End: () => go(shown.length - 1),
    y: () => decide("wrong"), n: () => decide("right"), m: () => decide("maybe"), a: accept, u: undo,
    e: () => at("note").focus(), r: () => at("name").select(),
    "+": () => Sheet.zoom.by(1.5), "=": () => Sheet.zoom.by(1.5), "-": () => Sheet.zoom.by(1 / 1.5), 0: () => Sheet.zoom.fit(),
    "?": () => at("keys").showModal(),
  };

  function onKey(event) {
    const field = event.target.closest("input, select, textarea, dialog[open], summary");
    if (event.ctrlKey || event.metaKey || event.altKey || field) return;
    const scrolls = event.key.length > 1 && event.target.closest(".viewer.enlarged");
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || scrolls || (event.key.length === 1 && !at("use-keys").checked && event.key !== "?")) return;
    event.preventDefault();
    act();
  }

  // A field's Enter does what the field is for, and gives the keys back.
  function onEnter(field, act) {
    at(field).addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      at("list").focus();
      if (event.key === "Enter") act();
    });
  }

  function fillWorklist() {
    const rows = shown.slice(0, MOST_PRINTED).map((place) => {
      const item = items[place];
      const said = [...Store.last(item).values()].filter((row) => row.verdict !== "open").map((row) => `${row.reviewer}: ${WORDS[row.verdict]}${row.name ? ` (${row.name})` : ""}`);
      return make("tr", null, {}, [place + 1, item.number || item.id, item.given, item.suggested || "", said.join("; ")].map((text) => make("td", text, { dir: "auto" })));
    });
    document.querySelector("#worklist tbody").replaceChildren(...rows);
    document.querySelector("#worklist caption").textContent = `${title}: the first ${rows.length} of ${shown.length} sheets`;
  }

  document.addEventListener("keydown", onKey);
  for (const button of document.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => decide(button.dataset.verdict));
  const CLICKS = {
    accept, undo, previous: () => go(here - 1), next: () => go(here + 1), export: download, "show-keys": () => at("keys").showModal(),
    "zoom-in": () => Sheet.zoom.by(1.5), "zoom-out": () => Sheet.zoom.by(1 / 1.5), "zoom-fit": () => Sheet.zoom.fit(),
  };
  for (const [id, act] of Object.entries(CLICKS)) at(id).addEventListener("click", act);
  at("import").addEventListener("change", importFiles);
  at("reviewer").addEventListener("change", () => { remember("herbray-reviewer", reviewer()); refresh(); });
  onEnter("reviewer", () => { remember("herbray-reviewer", reviewer()); refresh(); });
  onEnter("name", accept);
  onEnter("note", keepNote);
  at("note").addEventListener("change", keepNote);
  at("verdict").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("beforeprint", fillWorklist);

  return { receive, receiveEvidence: Sheet.receiveEvidence, peek: (place) => items[place] };
})();
