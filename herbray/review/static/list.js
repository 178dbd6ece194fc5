"use strict";
// The queue: only the rows in view are in the document, so ten thousand sheets scroll as well as ten.

const SIGNS = { wrong: "✗", right: "✓", maybe: "?", disputed: "≠", open: "" };
const WORDS = { wrong: "wrong", right: "right", maybe: "maybe", disputed: "reviewers disagree", open: "no verdict" };

// An element with text and children; text is never read as HTML.
function make(tag, text, attributes = {}, children = []) {
  const element = document.createElement(tag);
  if (text !== null && text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const List = (() => {
  const HEIGHT = 58; // of a row in pixels, as in review.css
  const MARGIN = 8; // rows above and below the view
  const box = document.getElementById("list");
  const inner = make("div", null, { class: "inner", role: "presentation" });
  let shown = []; // places in the queue
  let chosen = 0; // place in `shown`
  let items = [];
  let choose = () => {};

  function begin(all, onChoose) {
    items = all;
    choose = onChoose;
    box.append(inner);
    box.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    new ResizeObserver(draw).observe(box);
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[data-at]");
      if (row) choose(Number(row.dataset.at));
    });
  }

  function row(at) {
    const place = shown[at];
    const item = items[place];
    const common = Store.common(item);
    const names = make("span", null, { class: "names" }, [
      make("bdi", item.given), item.suggested ? " → " : " is now ", make("bdi", item.suggested || item.now || "unnamed"),
    ]);
    const facts = [item.institution, item.number || item.id].filter(Boolean).join(" · ");
    const signs = [...Store.last(item).values()].filter((each) => each.verdict !== "open").map((each) => SIGNS[each.verdict]).join(" ");
    return make("div", null, {
      class: `row ${common}`, role: "option", id: `row-${place}`, "data-at": at,
      "aria-selected": at === chosen, "aria-posinset": at + 1, "aria-setsize": shown.length,
      "aria-label": `${place + 1}: filed as ${item.given.slice(0, 200)}, ${WORDS[common]}`, style: null,
    }, [
      make("span", String(place + 1), { class: "place" }),
      make("span", null, { class: "text" }, [names, make("span", facts, { class: "facts", dir: "auto" })]),
      make("span", common === "disputed" ? `≠ ${signs}` : signs, { class: "signs", "aria-hidden": "true" }),
    ]);
  }

  function draw() {
    const first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - MARGIN);
    const end = Math.min(shown.length, Math.ceil((box.scrollTop + box.clientHeight) / HEIGHT) + MARGIN);
    inner.style.height = `${shown.length * HEIGHT}px`;
    const drawn = [];
    for (let at = first; at < end; at += 1) {
      const element = row(at);
      element.style.top = `${at * HEIGHT}px`;
      drawn.push(element);
    }
    inner.replaceChildren(...drawn);
    const active = shown.length ? `row-${shown[chosen]}` : "";
    if (document.getElementById(active)) box.setAttribute("aria-activedescendant", active);
    else box.removeAttribute("aria-activedescendant");
  }

  function show(places) {
    shown = places;
    chosen = 0;
    draw();
  }

  function select(at) {
    chosen = at;
    const top = at * HEIGHT;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + HEIGHT - box.clientHeight;
    draw();
  }

  return { begin, show, select, draw };
})();

// The filters: a choice for each column that has several values.
const Filters = (() => {
  const COLUMNS = { family: "Family", genus: "Genus", institution: "Herbarium", collector: "Collector", rank: "Doubted at rank" };
  const STATES = {
    all: "all sheets", mine: "judged by me", rest: "not judged by me", disputed: "reviewers disagree",
    suspected: "suspected only", settled: "settled: has another name now",
  };
  const box = document.getElementById("filters");

  function values(items, column) {
    const counts = new Map();
    for (const item of items) for (const value of column === "rank" ? item.ranks : [item[column]]) {
      if (value !== null) counts.set(value, (counts.get(value) || 0) + 1);
    }
    return [...counts].sort(([a], [b]) => a.localeCompare(b));
  }

  function choice(key, label, options, onChange) {
    const select = make("select", null, { id: `filter-${key}`, "data-key": key }, options.map(([value, text]) => make("option", text, { value })));
    select.addEventListener("change", onChange);
    box.append(make("label", label, { for: select.id }), select);
  }

  function begin(items, onChange) {
    choice("state", "Show", Object.entries(STATES), onChange);
    for (const [column, label] of Object.entries(COLUMNS)) {
      const found = values(items, column);
      if (found.length < 2) continue;
      choice(column, label, [["", "all"], ...found.map(([value, count]) => [value, `${value.slice(0, 80)} (${count})`])], onChange);
    }
  }

  function apply(items, reviewer) {
    const chosen = [...box.querySelectorAll("select")].map((select) => [select.dataset.key, select.value]).filter(([, value]) => value);
    const fits = (item) => chosen.every(([key, value]) => {
      if (key === "rank") return item.ranks.includes(value);
      if (key !== "state") return item[key] === value;
      const mine = (Store.last(item).get(reviewer) || { verdict: "open" }).verdict !== "open";
      return { all: true, mine, rest: !mine, disputed: Store.common(item) === "disputed", suspected: item.suspected, settled: item.suggested === null }[value];
    });
    return items.flatMap((item, place) => (fits(item) ? [place] : []));
  }

  return { begin, apply };
})();
