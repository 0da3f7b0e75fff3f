// The gallery at work. Only the rows in view exist as elements; what users wrote reaches the page as text, never as
// markup. The same script draws from blocks inside the page, or from the server that it was loaded from.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const BLOCK = 32; // pictures in one inert block of the page
  const TILES = [88, 128, 168, 232, 320]; // sides of pictures in a row, pixels
  const HIGHEST = 15_000_000; // what all browsers lay out, pixels
  const SIGNS = { video: "▶", audio: "♪" }; // of what is no image
  const GRAVITY = { error: 3, warning: 2, note: 1 };

  // --- building elements ---------------------------------------------------------------------------------------

  function el(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null) continue;
      if (name.startsWith("aria-")) made.setAttribute(name, String(value));
      else if (value === false) continue;
      else if (name === "class") made.className = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name.startsWith("--")) made.style.setProperty(name, value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return made;
  }

  // --- data ----------------------------------------------------------------------------------------------------

  let data, samples, pictures, served;
  let masks = false, extras = 0; // whether any sample has a mask; the largest number of further controls
  let view = []; // numbers of the samples that pass the filters
  let current = 0; // place in view
  const chosen = { split: null, code: null, text: "" };

  async function load() {
    const block = $("data");
    served = !block;
    const raw = served ? await (await fetch("data.json")).json() : JSON.parse(block.textContent);
    if (block) block.remove();
    return raw;
  }

  function understand(raw) {
    data = raw;
    pictures = raw.pictures.map(([name, width, height, bytes, problem, clip]) => ({ name, width, height, bytes, problem, clip: problem ? "" : clip }));
    samples = raw.samples.map(([split, id, prompt, controls, mask, target, findings, extra]) => ({
      split, id, prompt, controls, mask, target, extra,
      findings: findings.map(finding),
      images: [...controls, mask, target].filter((number) => number !== null),
    }));
    for (const sample of samples) {
      sample.gravity = Math.max(0, ...sample.findings.map((found) => GRAVITY[found.severity]));
      masks ||= sample.mask !== null;
      extras = Math.max(extras, sample.controls.length - 1);
    }
  }

  const finding = ([code, severity, message, fix]) => ({ code, severity, message, fix });
  const fold = (text) => text.normalize("NFKC").toLowerCase();

  function haystack(sample) { // made when first searched
    sample.hay ??= fold([sample.id, sample.prompt, ...sample.images.map((n) => pictures[n].name), ...Object.values(sample.extra)].join("\n"));
    return sample.hay;
  }

  // --- pictures ------------------------------------------------------------------------------------------------

  const blocks = new Map();

  function line(number) { // a picture of this page: base64, or "!" and why there is none
    const place = Math.floor(number / BLOCK);
    let lines = blocks.get(place);
    if (!lines) {
      lines = $(`block-${place}`).textContent.trim().split("\n");
      blocks.set(place, lines);
      if (blocks.size > 24) blocks.delete(blocks.keys().next().value);
    }
    return lines[number % BLOCK];
  }

  function problem(number) { // why a picture is not there, as far as that is known
    const known = pictures[number];
    if (!served && !known.problem && line(number)[0] === "!") known.problem = JSON.parse(`"${line(number).slice(1)}"`);
    return known.problem;
  }

  function broken(number, why) {
    const { name, clip } = pictures[number];
    return el("div", { class: "broken", "data-clip": clip || null, role: "img", "aria-label": `${name}: ${why}`, title: `${name}\n${why}` }, el("b", {}, SIGNS[clip] ?? "✕"), el("span", {}, why));
  }

  function picture(number, alt, className, large) {
    const known = pictures[number];
    if (problem(number)) return broken(number, known.problem);
    const image = el("img", { alt, class: className, decoding: large ? "sync" : "async", draggable: "false" });
    if (!served) {
      image.src = `data:image/webp;base64,${line(number)}`;
      return image;
    }
    const source = `picture/${number}/${large ? "large" : "small"}`;
    image.addEventListener("error", async () => {
      const answer = await fetch(source).catch(() => null);
      known.problem = !answer ? "" : answer.ok ? "" : await answer.text();
      if (known.problem && detail.open && detail.contains(image)) show();
      else image.replaceWith(broken(number, known.problem || "The server does not answer."));
    });
    if (large) image.src = source;
    else setTimeout(() => { if (image.isConnected) image.src = source; }, 90); // not for rows that only fly past
    return image;
  }

  function tile(number, alt, missing) {
    if (number === null || number === undefined) return el("div", { class: "pic" }, el("div", { class: "none" }, missing));
    const shown = picture(number, alt);
    const sign = shown.className === "broken" ? null : SIGNS[pictures[number].clip];
    return el("div", { class: "pic", title: about(number) }, shown, sign ? el("i", { class: "clip", "aria-hidden": true }, sign) : null);
  }

  function overlay(sample) {
    if (sample.mask === null) return tile(null, "", "no mask");
    const box = el("div", { class: "pic", title: about(sample.mask) });
    const under = sample.controls.length ? picture(sample.controls[0], "") : null;
    const over = picture(sample.mask, `Mask of ${sample.id}, over its control`, "tint");
    if (over.className === "broken") box.append(over);
    else box.append(...(under && under.className !== "broken" ? [under, over] : [over]));
    return box;
  }

  // --- words ---------------------------------------------------------------------------------------------------

  const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

  function bytes(count) {
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (count < 1000 || unit === "GB") return `${unit === "B" ? count : Number(count.toPrecision(3))} ${unit}`;
      count /= 1000;
    }
  }

  const size = (number) => (pictures[number].width ? `${pictures[number].width} × ${pictures[number].height}` : "");
  const about = (number) => [pictures[number].name, size(number), bytes(pictures[number].bytes)].filter(Boolean).join("\n");
  const splitName = (sample) => data.splits[sample.split][0];

  function sizes(sample) {
    const before = sample.controls.length ? size(sample.controls[0]) : "";
    const after = sample.target === null ? "" : size(sample.target);
    return before && after && before !== after ? `${before} → ${after}` : before || after;
  }

  function marked(text) { // text with the searched words marked
    const words = fold(chosen.text).split(/\s+/).filter(Boolean);
    const low = fold(text);
    if (!words.length || low.length !== text.length) return [text];
    const parts = [];
    let at = 0;
    while (at < text.length) {
      const hits = words.map((word) => [low.indexOf(word, at), word.length]).filter(([start]) => start >= 0);
      if (!hits.length) break;
      const [start, length] = hits.reduce((a, b) => (b[0] < a[0] || (b[0] === a[0] && b[1] > a[1]) ? b : a));
      if (start > at) parts.push(text.slice(at, start));
      parts.push(el("mark", {}, text.slice(start, start + length)));
      at = start + length;
    }
    return [...parts, text.slice(at)];
  }

  const path = (name) => name.split(/(?<=\/)/).flatMap((part, i) => [...(i ? [el("wbr")] : []), ...marked(part)]);

  const findingItem = (found) =>
    el("li", { "data-severity": found.severity, title: data.codes[found.code] },
      el("span", {}, found.message, " ", el("code", {}, found.code), found.fix ? el("span", { class: "fix" }, `→ ${found.fix}`) : null));

  const promptOf = (sample, tag) =>
    sample.prompt ? el(tag, { class: "prompt" }, marked(sample.prompt)) : el(tag, { class: "prompt missing" }, "no prompt");

  // --- rows ----------------------------------------------------------------------------------------------------

  const list = $("list"), root = document.documentElement;
  let rowHeight = 200, lines = 4, room = 2, size_ = Number(store("tile") ?? (innerWidth < 1500 ? 2 : 3)), narrow = false;
  const rows = new Map(); // place in view -> element

  function store(key, value) { // remembers the size of rows; pages opened as files may not be allowed to
    try {
      if (value === undefined) return localStorage.getItem(`qflux-${key}`);
      localStorage.setItem(`qflux-${key}`, value);
    } catch { /* then it is not remembered */ }
    return null;
  }

  function measure() {
    const width = document.documentElement.clientWidth;
    narrow = width < 860;
    document.body.classList.toggle("narrow", narrow);
    const columns = 2 + (masks ? 1 : 0);
    const free = Math.min(width, 1720) - (narrow ? 24 : 40) - 28;
    const gap = 8;
    const most = narrow ? Math.floor((free - gap * (columns - 1)) / columns) : Math.floor((free - 300) / (columns + (extras ? .55 : 0))) - gap;
    const side = narrow ? Math.min(most, 240) : Math.max(64, Math.min(TILES[size_], most));
    root.style.setProperty("--tile", `${side}px`);
    const text = 132; // name, prompt and a finding
    rowHeight = narrow ? side + text + 40 : side + 34;
    root.style.setProperty("--row", `${rowHeight}px`);
    lines = narrow ? 4 : Math.max(2, Math.floor((side - 26) / 21));
    room = Math.max(1, Math.floor(lines / 2) - 1);
    root.style.setProperty("--lines", lines);
    const template = [`${side}px`];
    if (extras && !narrow) template.push(`${(side - gap) / 2}px`);
    if (masks) template.push(`${side}px`);
    template.push(`${side}px`);
    if (!narrow) template.push("minmax(0, 1fr)");
    root.style.setProperty("--columns", template.join(" "));
    $("heads").style.gridTemplateColumns = template.join(" ");
    const names = ["control", ...(extras ? ["others"] : []), ...(masks ? ["mask"] : []), "target", "prompt"];
    $("heads").replaceChildren(...names.map((name) => el("span", {}, name)));
    $("smaller").disabled = size_ === 0;
    $("larger").disabled = size_ === TILES.length - 1;
  }

  function rowOf(place) {
    const sample = samples[view[place]];
    const more = sample.controls.slice(1);
    const shown = more.slice(0, 2).map((number, i) => {
      const made = tile(number, `Control ${i + 1} of ${sample.id}`);
      if (i === 1 && more.length > 2) made.append(el("b", {}, `+${more.length - 2}`));
      return made;
    });
    const ordered = [...sample.findings].sort((a, b) => GRAVITY[b.severity] - GRAVITY[a.severity]);
    const fits = ordered.length <= room ? room : Math.max(1, room - 1);
    const severity = ["", "note", "warning", "error"][sample.gravity];
    const row = el("article", { class: "row", tabindex: "-1", "aria-posinset": place + 1, "aria-setsize": view.length, "aria-label": `${sample.id}, ${splitName(sample)}`, "data-severity": severity || null, "data-place": place },
      tile(sample.controls[0], `Control of ${sample.id}`, "no control"),
      extras && !narrow ? el("div", { class: "more" }, shown) : null,
      masks ? overlay(sample) : null,
      tile(sample.target, `Target of ${sample.id}`, "no target"),
      el("div", { class: "text" },
        el("div", { class: "name" }, el("span", { title: sample.id }, marked(sample.id)), data.splits.length > 1 ? el("span", { class: "tag" }, splitName(sample)) : null, el("span", { class: "size" }, sizes(sample))),
        promptOf(sample, "p"),
        sample.findings.length ? el("ul", { class: "findings" }, ordered.slice(0, fits).map(findingItem),
          ordered.length > fits ? el("li", { class: "rest" }, `and ${ordered.length - fits} more`) : null) : null));
    if (ordered.length) row.style.setProperty("--lines", Math.max(1, lines - 2 * Math.min(ordered.length, fits)));
    row.style.gridTemplateColumns = "var(--columns)";
    row.style.top = `${place * rowHeight}px`;
    return row;
  }

  const height = () => Math.min(view.length, Math.floor(HIGHEST / rowHeight));

  function draw() { // rows in view, and some above and below, exist; others do not
    const top = list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / rowHeight) - 3);
    const last = Math.min(height() - 1, Math.ceil((innerHeight - top) / rowHeight) + 3);
    for (const [place, row] of rows) {
      if (place < first || place > last) { row.remove(); rows.delete(place); }
    }
    for (let place = first; place <= last; place++) {
      if (!rows.has(place)) {
        const row = rowOf(place);
        rows.set(place, row);
        list.append(row);
      }
      rows.get(place).setAttribute("aria-current", place === current);
    }
  }

  function redraw() {
    for (const row of rows.values()) row.remove();
    rows.clear();
    list.style.height = `${height() * rowHeight}px`;
    draw();
  }

  let waiting = false;
  const drawSoon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };

  function select(place, focus = true) {
    if (!view.length) return;
    current = Math.max(0, Math.min(height() - 1, place));
    const bar = $("bar").offsetHeight + 8;
    const top = list.getBoundingClientRect().top + current * rowHeight;
    if (top < bar) scrollBy(0, top - bar);
    else if (top + rowHeight > innerHeight) scrollBy(0, top + rowHeight - innerHeight + 8);
    draw();
    if (focus && !$("detail").open) rows.get(current)?.focus({ preventScroll: true });
  }

  function isVisible(place) {
    const top = list.getBoundingClientRect().top + place * rowHeight;
    return top + rowHeight > $("bar").offsetHeight && top < innerHeight;
  }

  function step(by) {
    if ($("detail").open || isVisible(current)) select(current + by);
    else select(Math.ceil(($("bar").offsetHeight - list.getBoundingClientRect().top) / rowHeight)); // where the reader is
    if ($("detail").open) show();
  }

  // --- filters -------------------------------------------------------------------------------------------------

  function filter(keep) {
    const words = fold(chosen.text).split(/\s+/).filter(Boolean);
    const held = keep ?? view[current];
    view = [];
    samples.forEach((sample, number) => {
      if (chosen.split !== null && sample.split !== chosen.split) return;
      if (chosen.code === "*" ? !sample.findings.length : chosen.code && !sample.findings.some((found) => found.code === chosen.code)) return;
      if (words.length && !words.every((word) => haystack(sample).includes(word))) return;
      view.push(number);
    });
    current = Math.max(0, view.indexOf(held));
    $("count").textContent = view.length === samples.length ? plural(samples.length, "sample") : `${view.length.toLocaleString("en")} of ${plural(samples.length, "sample")}`;
    $("empty").hidden = view.length > 0;
    $("heads").hidden = view.length === 0;
    const cut = height() < view.length;
    $("note").hidden = !cut && data.total === samples.length;
    $("note").textContent = cut
      ? `The first ${height().toLocaleString("en")} of ${view.length.toLocaleString("en")} samples are listed; a search or a filter reaches the others.`
      : `This page shows ${samples.length.toLocaleString("en")} of ${plural(data.total, "sample")}: those with findings, and the first of each split. “qflux preview --serve” shows all of them.`;
    for (const group of ["splits", "codes"]) {
      for (const button of $(group).children) button.setAttribute("aria-pressed", button.matches(`[data-is="${CSS.escape(String(group === "splits" ? chosen.split : chosen.code))}"]`));
    }
    redraw();
    if (!isVisible(current)) scrollTo(0, 0);
  }

  function buildFilters() {
    const button = (key, value, ...inside) =>
      el("button", { "data-is": String(value), onclick: () => { chosen[key] = chosen[key] === value && key === "code" ? null : value; filter(); } }, ...inside);
    const count = (number) => el("b", {}, number.toLocaleString("en"));
    $("splits").replaceChildren(button("split", null, "All", count(samples.length)), ...data.splits.map(([name, shown], place) => button("split", place, name, count(shown))));
    const codes = new Map();
    let any = 0;
    for (const sample of samples) {
      if (sample.findings.length) any++;
      for (const code of new Set(sample.findings.map((found) => found.code))) {
        const severity = sample.findings.find((found) => found.code === code).severity;
        const entry = codes.get(code) ?? { count: 0, severity };
        entry.count++;
        codes.set(code, entry);
      }
    }
    const sorted = [...codes].sort(([, a], [, b]) => GRAVITY[b.severity] - GRAVITY[a.severity] || b.count - a.count);
    $("codes").replaceChildren(
      ...(any ? [button("code", "*", "With findings", count(any))] : []),
      ...(sorted.length > 1 ? sorted : sorted.slice(0, 1)).map(([code, { count: number, severity }]) => {
        const made = button("code", code, code, count(number));
        made.dataset.severity = severity;
        made.title = data.codes[code];
        return made;
      }));
  }

  function countHidden() { // two rows of findings are shown; the others are a button away
    const all = $("codes").classList.contains("all"), top = $("codes").offsetTop;
    const hidden = [...$("codes").children].filter((button) => button.offsetTop - top > 56).length;
    $("more").hidden = !hidden;
    $("more").textContent = all ? "fewer" : `${hidden} more`;
    $("more").setAttribute("aria-expanded", all);
  }

  function buildHeader() {
    const counts = data.counts;
    const words = [data.layout === "hub" ? "on the Hub" : `${data.layout} layout`, ...(data.splits.length === 1 ? [data.splits[0][0]] : []), plural(counts.files, pictures.some((one) => one.clip) ? "file" : "image"), bytes(counts.bytes)];
    if (!counts.errors && !counts.warnings && !counts.notes) words.push("no findings");
    $("facts").textContent = words.join(" · ");
    $("source").textContent = data.title;
    $("source").title = data.source;
    $("splits").hidden = data.splits.length < 2;
    const whole = data.findings.map(finding).sort((a, b) => GRAVITY[b.severity] - GRAVITY[a.severity]);
    if (whole.length) {
      const count = (severity) => whole.filter((found) => found.severity === severity).length;
      const grave = Object.keys(GRAVITY).filter(count).map((severity) => plural(count(severity), severity)).join(", ");
      $("whole").hidden = false;
      $("whole").open = whole.length <= 5 && whole[0].severity !== "note";
      $("whole").querySelector("summary").textContent = `${plural(whole.length, "finding")} about the dataset: ${grave}`;
      $("whole").querySelector("ul").append(...whole.slice(0, 500).map(findingItem));
      if (whole.length > 500) $("whole").querySelector("ul").append(el("li", {}, `… and ${plural(whole.length - 500, "more")[0]} more`));
    }
  }

  // --- one sample, large ---------------------------------------------------------------------------------------

  const detail = $("detail"), stage = $("stage");
  let mode = "slide", maskOn = false, before = 0, cut = 50, opened = null;

  function show() {
    const sample = samples[view[current]];
    if (opened !== sample) { before = 0; cut = 50; opened = sample; }
    $("detail-id").replaceChildren(...marked(sample.id), el("span", { class: "tag" }, splitName(sample)));
    $("detail-prompt").replaceWith(Object.assign(promptOf(sample, "p"), { id: "detail-prompt" }));
    $("detail-findings").replaceChildren(...sample.findings.map(findingItem));
    $("position").textContent = `${(current + 1).toLocaleString("en")} of ${view.length.toLocaleString("en")}`;
    $("previous").disabled = current === 0;
    $("next").disabled = current === height() - 1;
    const files = [
      ...sample.controls.map((number, i) => [i ? `control ${i}` : "control", number]),
      ["mask", sample.mask], ["target", sample.target],
    ].filter(([, number]) => number !== null);
    $("detail-files").replaceChildren(...files.map(([role, number]) =>
      el("tr", {}, el("td", {}, role), el("td", {}, el("code", {}, path(pictures[number].name)), el("span", {}, [size(number), bytes(pictures[number].bytes)].filter(Boolean).join(" · "))))));
    $("detail-extra").replaceChildren(...Object.entries(sample.extra).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, marked(value)))));
    $("strip").replaceChildren(...files.filter(([role]) => role !== "mask").map(([role, number], i) =>
      el("button", { "aria-pressed": role === "target" ? null : i === before, disabled: role === "target", title: role === "target" ? null : "Compare this one with the target", onclick: () => { before = i; show(); } },
        tile(number, role), el("span", {}, role))));
    $("strip").hidden = sample.controls.length < 2;
    drawStage(sample);
    history.replaceState(null, "", `#${encodeURIComponent(splitName(sample))}/${encodeURIComponent(sample.id)}`);
  }

  function drawStage(sample) {
    const left = sample.controls[before], right = sample.target;
    const pair = left !== undefined && right !== null;
    const shown = [left, right].map((number) => number !== undefined && number !== null && !problem(number));
    const kind = !pair ? "single" : shown.every(Boolean) ? mode : "side"; // a comparison needs two pictures
    const hasMask = sample.mask !== null && before === 0;
    const base = pictures[right ?? left];
    const ratio = { "--w": base.width || 4, "--h": base.height || 3 };
    const leftName = before ? `control ${before}` : "control";
    const tint = () => (hasMask && maskOn ? [picture(sample.mask, "Mask", "tint", true)] : []);
    for (const button of detail.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", button.dataset.mode === kind);
      button.disabled = !pair || !shown.every(Boolean);
    }
    $("mask").disabled = !hasMask;
    $("mask").setAttribute("aria-pressed", hasMask && maskOn);
    stage.className = `stage ${kind === "side" ? "side" : ""}`;
    const corner = (name, side) => el("span", { class: `corner ${side}` }, name);
    if (kind === "slide") {
      const range = el("input", { type: "range", min: 0, max: 100, step: 0.5, "aria-label": `Share of ${leftName} over target, in percent` });
      const frame = el("div", { class: "frame slide", ...ratio },
        picture(right, `Target of ${sample.id}`, "after", true), wrap(picture(left, `${leftName} of ${sample.id}`, "before", true), "before"),
        tint(), corner(leftName, "left"), corner("target", "right"), range, el("div", { class: "handle" }));
      range.value = cut;
      range.addEventListener("input", () => setCut(Number(range.value)));
      frame.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        frame.setPointerCapture(event.pointerId);
        range.focus({ preventScroll: true });
        drag(event);
        frame.addEventListener("pointermove", drag);
        event.preventDefault();
      });
      const end = () => frame.removeEventListener("pointermove", drag);
      frame.addEventListener("pointerup", end);
      frame.addEventListener("pointercancel", end);
      stage.replaceChildren(frame);
      setCut(cut);
    } else if (kind === "difference") {
      stage.replaceChildren(el("div", { class: "frame difference", ...ratio }, picture(right, "", "after", true), picture(left, `Difference of ${leftName} and target of ${sample.id}`, "before", true), tint(), corner("difference", "left")));
    } else if (kind === "side") {
      const shape = { "--w": pictures[left].width || 4, "--h": pictures[left].height || 3 };
      stage.replaceChildren(
        el("div", { class: "frame", ...shape }, picture(left, `${leftName} of ${sample.id}`, "", true), tint(), corner(leftName, "left")),
        el("div", { class: "frame", ...ratio }, picture(right, `Target of ${sample.id}`, "", true), corner("target", "left")));
    } else {
      const only = left ?? right;
      stage.replaceChildren(only === undefined || only === null ? el("div", { class: "none" }, "no image")
        : el("div", { class: "frame", ...ratio }, picture(only, `${leftName} of ${sample.id}`, "", true), tint(), corner(left === undefined ? "target" : `${leftName}, no target`, "left")));
    }
  }

  const wrap = (made, className) => { made.classList.add(className); return made; };

  function setCut(value) {
    cut = Math.max(0, Math.min(100, value));
    const frame = stage.querySelector(".slide");
    if (!frame) return;
    frame.style.setProperty("--cut", `${cut}%`);
    frame.querySelector("input").value = cut;
  }

  function drag(event) {
    const box = stage.querySelector(".slide").getBoundingClientRect();
    setCut(((event.clientX - box.left) / box.width) * 100);
  }

  function setMode(name) { mode = name; show(); }
  function toggleMask() { maskOn = !maskOn; show(); }

  function open(place) {
    select(place, false);
    show();
    if (!detail.open) detail.showModal();
    $("detail-id").focus({ preventScroll: true });
  }

  detail.addEventListener("close", () => {
    stage.replaceChildren();
    history.replaceState(null, "", location.pathname + location.search);
    select(current);
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
  }

  // --- keys and clicks -----------------------------------------------------------------------------------------

  function resize(by) {
    const next = Math.max(0, Math.min(TILES.length - 1, size_ + by));
    if (next === size_) return;
    const offset = isVisible(current) ? list.getBoundingClientRect().top + current * rowHeight : null;
    size_ = next;
    store("tile", size_);
    layout();
    if (offset !== null) scrollBy(0, list.getBoundingClientRect().top + current * rowHeight - offset);
  }

  function layout() {
    const held = rowHeight;
    countHidden();
    const above = Math.max(0, -list.getBoundingClientRect().top) / held;
    measure();
    redraw();
    if (above > 1) scrollTo(0, scrollY + list.getBoundingClientRect().top + above * rowHeight);
  }

  function clearFilters() {
    Object.assign(chosen, { split: null, code: null, text: "" });
    $("search").value = "";
    filter();
  }

  const GALLERY_KEYS = {
    ArrowDown: () => step(1), ArrowRight: () => step(1), j: () => step(1),
    ArrowUp: () => step(-1), ArrowLeft: () => step(-1), k: () => step(-1),
    Home: () => select(0), End: () => select(view.length - 1),
    Enter: () => open(current), o: () => open(current),
    "/": () => { $("search").focus(); $("search").select(); },
    "?": () => $("keys").showModal(),
    "+": () => resize(1), "=": () => resize(1), "-": () => resize(-1),
    f: () => { chosen.code = chosen.code ? null : "*"; filter(); },
    Escape: clearFilters,
  };
  const DETAIL_KEYS = {
    ArrowDown: () => step(1), ArrowRight: () => step(1), j: () => step(1),
    ArrowUp: () => step(-1), ArrowLeft: () => step(-1), k: () => step(-1),
    Home: () => { select(0); show(); }, End: () => { select(view.length - 1); show(); },
    " ": () => setCut(cut < 50 ? 100 : 0),
    1: () => setMode("slide"), 2: () => setMode("side"), 3: () => setMode("difference"),
    m: toggleMask,
    "?": () => $("keys").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
    const target = event.target;
    if (target === $("search")) {
      if (event.key === "Escape") { chosen.text = $("search").value = ""; filter(); target.blur(); }
      else if (event.key === "Enter" || event.key === "ArrowDown") { event.preventDefault(); select(current); }
      return;
    }
    const onButton = target.closest?.("button, summary, a") && (event.key === "Enter" || event.key === " ");
    const onRange = target.type === "range" && /^(Arrow|Home|End|Page)/.test(event.key);
    if (onButton || onRange) return; // the element's own keys
    const action = (detail.open ? DETAIL_KEYS : GALLERY_KEYS)[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  list.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row && !String(getSelection())) open(Number(row.dataset.place));
  });
  $("search").addEventListener("input", (event) => { chosen.text = event.target.value; filter(); });
  $("clear").addEventListener("click", clearFilters);
  $("help").addEventListener("click", () => $("keys").showModal());
  $("more").addEventListener("click", () => { $("codes").classList.toggle("all"); $("codes").scrollTo(0, 0); countHidden(); });
  $("smaller").addEventListener("click", () => resize(-1));
  $("larger").addEventListener("click", () => resize(1));
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => detail.close());
  $("mask").addEventListener("click", toggleMask);
  for (const button of detail.querySelectorAll("[data-mode]")) button.addEventListener("click", () => setMode(button.dataset.mode));
  addEventListener("scroll", drawSoon, { passive: true });
  addEventListener("resize", layout);

  // --- beginning -----------------------------------------------------------------------------------------------

  function follow() { // #split/id opens that sample
    const [split, ...rest] = location.hash.slice(1).split("/").map(decodeURIComponent);
    const number = samples.findIndex((sample) => splitName(sample) === split && sample.id === rest.join("/"));
    if (number >= 0) open(view.indexOf(number));
  }

  async function begin() {
    try {
      understand(await load());
    } catch (error) {
      $("loading").textContent = `The gallery's data cannot be read (${error.message}).`;
      return;
    }
    buildHeader();
    buildFilters();
    measure();
    countHidden();
    filter(0);
    $("loading").remove();
    list.setAttribute("aria-busy", "false");
    if (location.hash) follow();
  }
  begin();
})();
