"use strict";
// One sheet of the queue: its picture, why it is doubted, similar sheets, and what reviewers said.

const Sheet = (() => {
  const LABELS = {
    id: "Specimen", species: "Species", genus: "Genus", family: "Family", order: "Order", institution: "Herbarium",
    gathering: "Gathering", catalog_number: "Catalogue number", license: "Licence", rights_holder: "Rights", image: "Original file",
  };
  const at = (id) => document.getElementById(id);
  const zoom = makeZoom(at("viewer"));
  const both = [...document.querySelectorAll("#compare .viewer")].map(makeZoom);
  const chunks = new Map(); // number → promise of evidence
  const arrived = new Map(); // number → function that keeps the promise
  let chunkSize = 1;
  let now = null;

  document.querySelector("#compare .zoom-in").addEventListener("click", () => both.forEach((each) => each.by(1.5)));
  document.querySelector("#compare .zoom-out").addEventListener("click", () => both.forEach((each) => each.by(1 / 1.5)));

  function begin(chunk) {
    chunkSize = chunk;
  }

  function receiveEvidence(number, items) {
    arrived.get(number)(items);
  }

  // Scripts, because a page from the file system may load nothing else.
  function load(number) {
    if (!chunks.has(number)) {
      chunks.set(number, new Promise((resolve, reject) => {
        arrived.set(number, resolve);
        const script = make("script", null, { src: `evidence/${String(number).padStart(5, "0")}.js` });
        script.addEventListener("error", () => { chunks.delete(number); reject(new Error("the folder evidence is incomplete")); });
        document.head.append(script);
      }));
    }
    return chunks.get(number);
  }

  async function show(item, place) {
    now = item;
    at("heading").replaceChildren(`${place + 1}. Filed as `, make("bdi", item.given));
    setPicture(at("picture"), item.picture, `Sheet ${item.id}`);
    zoom.fit();
    for (const id of ["why", "ranks", "facts", "similar"]) at(id).replaceChildren();
    at("original").hidden = true;
    showSaid(item);
    let evidence;
    try {
      evidence = (await load(Math.floor(place / chunkSize)))[place % chunkSize];
    } catch (error) {
      evidence = { why: `The similar sheets cannot be shown: ${error.message}.`, doubts: [], facts: { id: item.id }, similar: [] };
    }
    if (now === item) fill(item, evidence);
  }

  function fill(item, evidence) {
    at("why").textContent = evidence.why;
    at("why").dir = "auto";
    at("ranks").replaceChildren(...evidence.doubts.slice(1).map((doubt) => make("li", rankLine(doubt), { dir: "auto" })));
    at("facts").replaceChildren(...Object.entries(LABELS).flatMap(([key, label]) =>
      evidence.facts[key] ? [make("dt", label), make("dd", evidence.facts[key], { dir: "auto" })] : []));
    const link = at("original");
    link.hidden = !/^https?:\/\//i.test(evidence.facts.reference || "");
    if (!link.hidden) link.href = evidence.facts.reference;
    at("similar").replaceChildren(...evidence.similar.map((group, number) => similar(group, number, item)));
  }

  function rankLine(doubt) {
    const name = doubt.suspected ? "also doubted" : "not doubted";
    return `At rank ${doubt.rank}, ${name}: ${doubt.given} ${percent(doubt.given_probability)}, ${doubt.suggested} ${percent(doubt.suggested_probability)}`;
  }

  function percent(value) {
    return `${Math.round(100 * value)} %`;
  }

  function similar(group, number, item) {
    const kind = number === 0 ? "Filed as" : item.suggested ? "Proposed:" : "Now filed as";
    const heading = make("h3", `${kind} `, {}, [make("bdi", group.name)]);
    const list = make("ul", null, {}, group.sheets.map((sheet) => make("li", null, {}, [card(sheet, group.name, item)])));
    return make("section", null, { class: number === 0 ? "given" : "proposed" },
      [heading, group.sheets.length ? list : make("p", "No sheet of this name from another gathering.")]);
  }

  function card(sheet, name, item) {
    const image = make("img", null, { loading: "lazy", decoding: "async", alt: "" });
    setPicture(image, sheet.picture, "");
    const lines = [
      make("bdi", sheet.species || name, { class: "species" }), make("span", sheet.institution || "herbarium unknown", { dir: "auto" }),
      make("span", sheet.gathering || "gathering unknown", { dir: "auto" }), make("span", `distance ${sheet.distance.toFixed(3)}`),
    ];
    const button = make("button", null, { type: "button", class: "card" }, [image, ...lines]);
    button.addEventListener("click", () => compare(item, sheet, name));
    return button;
  }

  function compare(item, sheet, name) {
    const figures = document.querySelectorAll("#compare figure");
    [[item.picture, `This sheet, filed as ${item.given}`], [sheet.picture, `${sheet.id}, filed as ${sheet.species || name}`]].forEach(([picture, text], place) => {
      setPicture(figures[place].querySelector("img"), picture, text);
      figures[place].querySelector("figcaption").textContent = text;
      figures[place].querySelector("figcaption").dir = "auto";
      both[place].fit();
    });
    at("compare").showModal();
  }

  function setPicture(image, address, text) {
    image.alt = address ? text : `${text}: no picture`;
    if (address) image.src = address;
    else image.removeAttribute("src");
  }

  // The verdicts side by side, and those on other names of the sheet.
  function showSaid(item) {
    const rows = [...Store.last(item).values()].filter((row) => row.verdict !== "open" || row.note);
    const earlier = Store.others(item);
    const cells = (row) => [row.reviewer || "unknown", `${SIGNS[row.verdict]} ${WORDS[row.verdict]}`, row.name || "", row.note || "", row.at.slice(0, 10)]
      .map((text) => make("td", text, { dir: "auto" }));
    const head = make("tr", null, {}, ["Reviewer", "Verdict", "Right name", "Note", "Date"].map((text) => make("th", text, { scope: "col" })));
    const body = [...rows.map((row) => make("tr", null, { class: row.verdict }, cells(row))), ...earlier.map((row) => make("tr", null, { class: "earlier" }, [
      ...cells(row).slice(0, 4), make("td", `on ${row.given}, at rank ${row.rank}`, { dir: "auto" }),
    ]))];
    const disputed = Store.common(item) === "disputed";
    at("said").replaceChildren(...(body.length ? [
      make("h3", disputed ? "≠ Reviewers disagree" : "Verdicts"), make("table", null, {}, [make("thead", null, {}, [head]), make("tbody", null, {}, body)]),
    ] : []));
  }

  function preload(item) {
    if (item && item.picture) new Image().src = item.picture;
  }

  return { begin, show, showSaid, preload, zoom, receiveEvidence };
})();
