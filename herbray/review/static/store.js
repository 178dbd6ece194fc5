"use strict";
// The verdicts: rows that are only added. They are kept in this browser at once, and on the server if there is one.

const Store = (() => {
  const COLUMNS = ["id", "at", "reviewer", "specimen_id", "rank", "given", "verdict", "name", "note"];
  const NEEDED = ["specimen_id", "rank", "given", "verdict"];
  const VERDICTS = ["wrong", "right", "maybe", "open"];
  const RETRY_MS = 5000;
  const REFRESH_MS = 20000;
  const AT_ONCE = 200;

  const rows = new Map(); // by id, in the order in which they came
  const bySheet = new Map(); // specimen → rows
  const here = new Set(); // ids of rows that were made or imported in this browser
  const onDisk = new Set(); // ids of rows that the server has
  let name = ""; // of the place in localStorage
  let served = false;
  let sending = false;
  let changed = () => {};
  let trouble = { browser: "", server: "" };

  function take(row) {
    if (rows.has(row.id)) return false;
    rows.set(row.id, row);
    if (!bySheet.has(row.specimen_id)) bySheet.set(row.specimen_id, []);
    bySheet.get(row.specimen_id).push(row);
    return true;
  }

  function begin(data, onChange) {
    name = data.store;
    changed = onChange;
    data.verdicts.forEach((row) => { take(row); onDisk.add(row.id); });
    readBrowser();
    addEventListener("storage", (event) => { if (event.key === name) { readBrowser(); changed(); } }); // another tab
    if (location.protocol.startsWith("http")) connect();
  }

  function readBrowser() {
    try {
      for (const row of JSON.parse(localStorage.getItem(name) || "[]")) { take(row); here.add(row.id); }
    } catch (error) {
      trouble.browser = `This browser does not keep verdicts (${error.message}): export them before you close the page.`;
    }
  }

  function writeBrowser() {
    try {
      const kept = new Map(JSON.parse(localStorage.getItem(name) || "[]").map((row) => [row.id, row])); // also another tab's
      here.forEach((id) => kept.set(id, rows.get(id)));
      localStorage.setItem(name, JSON.stringify([...kept.values()]));
      trouble.browser = "";
    } catch (error) {
      trouble.browser = `This browser cannot keep more verdicts (${error.name}): export them now.`;
    }
  }

  function add(fields) {
    const id = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const latest = (bySheet.get(fields.specimen_id) || []).reduce((time, row) => Math.max(time, Date.parse(row.at) || 0), 0);
    const row = { id, at: new Date(Math.max(Date.now(), latest + 1)).toISOString(), ...fields };
    take(row);
    here.add(id);
    writeBrowser();
    changed();
    send();
    return row;
  }

  // The last row of each reviewer on a name of a sheet; a Map by reviewer.
  function last(item) {
    const found = new Map();
    for (const row of bySheet.get(item.id) || []) {
      if (row.rank !== item.rank || row.given !== item.given) continue;
      const other = found.get(row.reviewer);
      if (!other || (Date.parse(other.at) || 0) <= (Date.parse(row.at) || 0)) found.set(row.reviewer, row);
    }
    return found;
  }

  // Rows on other names of the sheet: an earlier determination, or another rank.
  function others(item) {
    return (bySheet.get(item.id) || []).filter((row) => (row.rank !== item.rank || row.given !== item.given) && row.verdict !== "open");
  }

  // "wrong", "right", "maybe", "disputed" or "open", of all reviewers together.
  function common(item) {
    const said = new Set([...last(item).values()].map((row) => row.verdict));
    if (said.has("wrong") && said.has("right")) return "disputed";
    return VERDICTS.find((each) => said.has(each)) || "open";
  }

  function exportText() {
    return Csv.format(COLUMNS, [...here].map((id) => rows.get(id)));
  }

  // Takes the rows of a file; returns how many are new. Throws an Error that says what is wrong, and then takes none.
  async function importText(text) {
    const read = Csv.parse(text).map((row, number) => check(row, number + 2));
    for (const row of read) if (!row.id) row.id = (await digest(row)).slice(0, 32);
    const added = read.filter(take);
    added.forEach((row) => here.add(row.id));
    writeBrowser();
    changed();
    send();
    return added.length;
  }

  function check(row, number) {
    const missing = NEEDED.filter((column) => !(row[column] || "").trim());
    if (missing.length) throw new Error(`row ${number}: ${missing.join(", ")} is missing`);
    const found = Object.fromEntries(COLUMNS.map((column) => [column, row[column] || ""]));
    found.verdict = found.verdict.trim().toLowerCase();
    found.rank = found.rank.trim().toLowerCase();
    if (!VERDICTS.includes(found.verdict)) throw new Error(`row ${number}: verdict “${found.verdict.slice(0, 40)}” is none of ${VERDICTS.join(", ")}`);
    if (found.at && Number.isNaN(Date.parse(found.at))) throw new Error(`row ${number}: “${found.at.slice(0, 40)}” is not a time`);
    found.at = new Date(found.at ? Date.parse(found.at) : 0).toISOString();
    found.name = found.name || null;
    found.note = found.note || null;
    return found;
  }

  async function digest(row) {
    const text = COLUMNS.slice(1).map((column) => row[column] || "").join("\u001f");
    if (!crypto.subtle) return [...text].reduce((sum, sign) => (Math.imul(sum, 31) + sign.codePointAt(0)) >>> 0, 7).toString(16).padStart(32, "0");
    const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  async function connect() {
    served = await refresh();
    if (!served) return;
    send();
    setInterval(send, RETRY_MS);
    setInterval(refresh, REFRESH_MS);
    addEventListener("beforeunload", (event) => { if (unsaved().length) event.preventDefault(); });
  }

  async function refresh() {
    try {
      const answer = await fetch("verdicts");
      const tree = await answer.json();
      if (answer.ok) tree.verdicts.forEach((row) => { take(row); onDisk.add(row.id); });
      else trouble.server = tree.error;
      changed();
      return true;
    } catch {
      return false;
    }
  }

  function unsaved() {
    return served ? [...here].filter((id) => !onDisk.has(id)) : [];
  }

  async function send() {
    const ids = unsaved().slice(0, AT_ONCE);
    if (!ids.length || sending) return;
    sending = true;
    try {
      const body = JSON.stringify(ids.map((id) => rows.get(id)));
      const answer = await fetch("verdicts", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      const tree = await answer.json();
      if (answer.ok) tree.saved.forEach((id) => onDisk.add(id));
      trouble.server = answer.ok ? "" : tree.error;
    } catch {
      trouble.server = "the server does not answer";
    }
    sending = false;
    changed();
    if (!trouble.server && unsaved().length) send();
  }

  // Where the verdicts are, and what went wrong.
  function state() {
    const waiting = unsaved().length;
    const alarm = [trouble.browser, waiting && trouble.server ? `${waiting} verdict${waiting === 1 ? " is" : "s are"} not saved on the server: ${trouble.server}. This browser keeps them and tries again.` : ""];
    const where = served ? (waiting ? "Saving…" : "Saved on the server") : "Kept in this browser; export to pass on";
    return { alarm: alarm.filter(Boolean).join(" "), where };
  }

  return { begin, add, last, others, common, exportText, importText, state, count: () => here.size };
})();
