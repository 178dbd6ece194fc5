"use strict";
// CSV as herbray/verdicts/files.py reads it and herbray/spreadsheet.py writes it.

const Csv = (() => {
  const FORMULA = "'*[ \\u00a0]*[=+\\-@\\t\\r\\n＝＋－＠]";
  const START = new RegExp("^" + FORMULA);
  const AFTER_SEPARATOR = new RegExp("([;\\t][ \\u00a0]*)(?=" + FORMULA + ")", "g");
  const ESCAPED_START = new RegExp("^'(?=" + FORMULA + ")");
  const ESCAPED_AFTER_SEPARATOR = new RegExp("([;\\t][ \\u00a0]*)'(?=" + FORMULA + ")", "g");

  // Puts an apostrophe before what a spreadsheet program would run.
  function escapeFormula(text) {
    const safe = text.replace(AFTER_SEPARATOR, "$1'");
    return START.test(safe) ? "'" + safe : safe;
  }

  function unescapeFormula(text) {
    return text.replace(ESCAPED_START, "").replace(ESCAPED_AFTER_SEPARATOR, "$1");
  }

  function cell(value) {
    const text = escapeFormula(value === null || value === undefined ? "" : String(value));
    return /[",;\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  function format(columns, rows) {
    const lines = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
    return "\ufeff" + lines.map((line) => line.map(cell).join(",") + "\r\n").join("");
  }

  // Lines of cells; throws an Error that names the line of an open quotation mark.
  function split(text, delimiter) {
    const lines = [[]];
    let at = 0;
    while (at < text.length) {
      let value;
      if (text[at] === '"') {
        const begin = at;
        let end = at + 1;
        while (end < text.length && (text[end] !== '"' || text[end + 1] === '"')) end += text[end] === '"' ? 2 : 1;
        if (end >= text.length) throw new Error(`line ${text.slice(0, begin).split("\n").length}: a quotation mark is not closed`);
        value = text.slice(begin + 1, end).replaceAll('""', '"');
        at = end + 1;
      } else {
        const begin = at;
        while (at < text.length && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") at += 1;
        value = text.slice(begin, at);
      }
      lines[lines.length - 1].push(value);
      if (text[at] === delimiter) {
        at += 1;
        if (at === text.length) lines[lines.length - 1].push("");
      } else if (at < text.length) {
        at += text[at] === "\r" && text[at + 1] === "\n" ? 2 : 1;
        if (at < text.length) lines.push([]);
      }
    }
    return lines;
  }

  // Objects by the names in the first line, in lower case.
  function parse(text) {
    const plain = text.replace(/^\ufeff/, "");
    const first = plain.split(/\r|\n/, 1)[0];
    const delimiter = [",", ";", "\t"].reduce((a, b) => (first.split(b).length > first.split(a).length ? b : a));
    const [header, ...lines] = split(plain, delimiter);
    const names = header.map((name) => name.trim().toLowerCase());
    const filled = lines.map((cells, number) => [cells, number + 2]).filter(([cells]) => cells.some((each) => each.trim()));
    return filled.map(([cells, number]) => {
      if (cells.length !== names.length) throw new Error(`row ${number}: ${cells.length} cells, but ${names.length} columns`);
      return Object.fromEntries(names.map((name, place) => [name, unescapeFormula(cells[place])]));
    });
  }

  return { format, parse };
})();
