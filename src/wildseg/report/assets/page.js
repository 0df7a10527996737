(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const frames = read("data-frames");
  const classes = read("data-classes");
  const byId = new Map(classes.map((one) => [one.id, one]));
  const STEP = 24; // frames that are added to the page at a time

  /** An element with properties and children; text is set as text, never as markup. */
  function make(name, properties, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties || {})) {
      if (key === "class") made.className = value;
      else if (key in made && key !== "list") made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  // What was run: a script beside the page, which is there only where the page was made -------------------------
  const result = document.getElementById("result");
  window.wildsegRun = (record) => {
    const rows = record.facts.map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", { class: "mono" }, value)));
    const place = document.getElementById("run-record");
    place.replaceChildren(make("dl", { class: "facts" }, ...rows));
    if (!record.changed.length) {
      place.append(make("p", { class: "note" }, "All parameters have their default values."));
      return;
    }
    const head = ["parameter", "value", "default"].map((name) => make("th", { scope: "col" }, name));
    const lines = record.changed.map(([key, value, usual]) =>
      make("tr", {}, make("th", { scope: "row" }, key), make("td", {}, value), make("td", {}, usual)));
    place.append(
      make("h3", {}, "Parameters that differ from the defaults"),
      make("div", { class: "wide", tabIndex: 0 }, make("table", { class: "changed" },
        make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines))));
  };
  const record = make("script", { src: `${result.dataset.records}/${result.dataset.result}.js` });
  document.body.append(record);

  if (!frames.length) return;

  // Pictures -----------------------------------------------------------------------------------------------------
  const place = (folder, frame, suffix) => `frames/${folder}/${encodeURIComponent(frame.name)}${suffix}`;
  const photo = (frame) => make("img", { loading: "lazy", src: place("photo", frame, ".jpg"), alt: frame.name });

  /** A part of a sheet, moved behind a window of the frame's shape. */
  function layer(frame, kind, index, count, alt) {
    const picture = make("img", {
      loading: "lazy", src: place(kind, frame, kind === "ids" ? ".png" : ".jpg"), class: `layer ${kind}`, alt,
    });
    // Enlarged smoothly, a map would shine through at its neighbour's edge: a hundredth is cut off on both sides.
    const cut = kind === "maps" ? 1 : 0;
    picture.style.height = `${count * (100 + 2 * cut)}%`;
    picture.style.top = `${-index * (100 + 2 * cut) - cut}%`;
    return picture;
  }

  const hasTruth = (frame) => "miou" in frame;
  const masks = (frame) => (hasTruth(frame) ? 3 : 2);
  const ids = (frame, index, alt) => layer(frame, "ids", index, masks(frame), alt);
  const heat = (frame, index, alt) => layer(frame, "maps", index, frame.maps.length + 1, alt);
  const VIEWS = {
    image: { title: "image", key: "i", layer: () => null },
    pseudo: { title: "pseudo mask", key: "p", layer: (frame) => ids(frame, 0, "pseudo mask") },
    confidence: { title: "confidence", key: "c", layer: (frame) => heat(frame, 0, "confidence") },
    model: { title: "model", key: "m", layer: (frame) => ids(frame, 1, "prediction") },
    truth: { title: "truth", key: "t", layer: (frame) => ids(frame, 2, "truth") },
  };
  const viewsOf = (frame) => Object.keys(VIEWS).filter((view) => view !== "truth" || hasTruth(frame));

  function windowOf(frame, ...layers) {
    const made = make("div", { class: "window" }, photo(frame), ...layers);
    made.style.aspectRatio = `${frame.size[0]} / ${frame.size[1]}`;
    return made;
  }

  // Numbers ------------------------------------------------------------------------------------------------------
  const share = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`);
  const digits = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));
  const labelOf = (frame, id) => frame.labels.find((label) => label.class === id);

  function captions(frame) {
    return {
      image: "image",
      pseudo: `pseudo mask, ${share(1 - frame.open)} decided`,
      confidence: `confidence, mean ${digits(frame.confidence)}`,
      model: hasTruth(frame) ? `model, mIoU ${digits(frame.miou)}` : "model",
      truth: "truth",
    };
  }

  function line(frame) {
    const parts = [frame.source, frame.time === null ? null : `${frame.time.toFixed(1)} s`, frame.split,
      `masks ≠ model ${share(frame.masks_model)}`, `maps ≠ model ${share(frame.maps_model)}`];
    return parts.filter((part) => part !== null).join(" · ");
  }

  /** The labels of a frame; `show` gets the place of a map and its class while it is pointed at, or null. */
  function chips(frame, show) {
    const made = frame.labels.map((label) => {
      const known = byId.get(label.class);
      const index = frame.maps.indexOf(label.class - 1);
      const wrong = (label.present && label.truth === false) || (!label.present && label.truth === true);
      const word = !wrong ? "" : label.present ? "wrong" : "missed";
      const colour = make("i");
      colour.style.background = known.colour;
      const chip = make("span", {
        class: `chip${label.present ? "" : " off"}${wrong ? " wrong" : ""}${index < 0 ? "" : " has-map"}`,
        title: index < 0 ? "no map: the frame is not labelled with it" : `map of ${known.name}`,
      }, colour, make("b", {}, known.name), label.score === null ? null : digits(label.score),
      word ? make("em", {}, word) : null);
      if (index >= 0) {
        chip.dataset.map = index;
        chip.addEventListener("mouseenter", () => show(index, label.class, false));
        chip.addEventListener("mouseleave", () => show(null, null, false));
        chip.addEventListener("click", () => show(index, label.class, true));
      }
      return chip;
    });
    return make("div", { class: "chips" }, ...(made.length ? made : [make("span", { class: "note" }, "no label")]));
  }

  // The list -----------------------------------------------------------------------------------------------------
  const list = document.getElementById("list");
  let shown = frames;
  let added = 0;

  function entry(frame) {
    const panes = {};
    const texts = captions(frame);
    for (const view of viewsOf(frame)) {
      panes[view] = make("figure", { class: "pane" }, make("figcaption", {}, texts[view]),
        windowOf(frame, VIEWS[view].layer(frame)));
    }
    let pinned = null;
    const image = panes.image;
    const show = (index, id, pin) => {
      if (pin) pinned = pinned === index ? null : index;
      const now = index === null || pin ? pinned : index;
      image.querySelectorAll(".layer").forEach((old) => old.remove());
      const named = now === null ? null : byId.get(frame.maps[now] + 1);
      if (now !== null) image.querySelector(".window").append(heat(frame, now + 1, `map of ${named.name}`));
      image.querySelector("figcaption").textContent = named ? `map: ${named.name}` : "image";
      made.querySelectorAll(".chip").forEach((chip) => chip.classList.toggle("on", chip.dataset.map === String(now)));
    };
    const opener = make("button", { class: "open", type: "button", tabIndex: -1 }, frame.name);
    opener.addEventListener("click", () => open(frame));
    const made = make("article", { class: "frame", tabIndex: 0, "aria-label": frame.name },
      make("div", { class: "top" }, make("h4", {}, opener), make("span", { class: "facts-line" }, line(frame))),
      chips(frame, show), make("div", { class: "panes" }, ...Object.values(panes)));
    made.dataset.name = frame.name;
    made.addEventListener("keydown", (event) => {
      if (event.target !== made || event.ctrlKey || event.metaKey || event.altKey) return;
      const index = Number(event.key) - 1;
      if (event.key === "Enter") { event.preventDefault(); open(frame); }
      else if (event.key === "ArrowDown" || event.key === "j") { event.preventDefault(); move(made, 1); }
      else if (event.key === "ArrowUp" || event.key === "k") { event.preventDefault(); move(made, -1); }
      else if (Number.isInteger(index) && index >= 0 && index < frame.maps.length) show(index, null, true);
    });
    for (const pane of Object.values(panes)) {
      pane.querySelector(".window").addEventListener("click", () => open(frame));
    }
    return made;
  }

  function move(from, by) {
    if (by > 0 && !from.nextElementSibling?.matches(".frame")) add();
    const to = by > 0 ? from.nextElementSibling : from.previousElementSibling;
    if (to?.matches(".frame")) { to.focus(); to.scrollIntoView({ block: "nearest" }); }
  }

  const more = make("button", { class: "more", type: "button" }, "Show more frames");
  more.addEventListener("click", () => add());
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) add(); },
    { rootMargin: "800px" }).observe(more);

  function add() {
    const next = shown.slice(added, added + STEP);
    more.before(...next.map(entry));
    added += next.length;
    more.hidden = added >= shown.length;
  }

  // Filter and sort ----------------------------------------------------------------------------------------------
  const SORTS = {
    time: { title: "order of time", value: () => 0 },
    worst: { title: "worst IoU first", value: (frame, id) => (id ? frame.iou?.[id] : frame.miou) },
    uncertain: { title: "least confident first", value: (frame) => frame.confidence },
    masks: { title: "masks and model disagree most", value: (frame) => negative(frame.masks_model) },
    maps: { title: "maps and model disagree most", value: (frame) => negative(frame.maps_model) },
  };
  const negative = (value) => (value === null ? null : -value);
  const KINDS = {
    anywhere: { title: "anywhere", has: (frame, id) => Boolean(labelOf(frame, id)?.present)
      || Object.values(frame.shares).some((shares) => id in shares) },
    labelled: { title: "in the labels", has: (frame, id) => Boolean(labelOf(frame, id)?.present) },
    predicted: { title: "in the prediction", has: (frame, id) => id in frame.shares.model },
    missed: { title: "missed by the labels", has: (frame, id) => missed(labelOf(frame, id)) },
    wrong: { title: "labelled wrongly", has: (frame, id) => wrongly(labelOf(frame, id)) },
  };
  const missed = (label) => Boolean(label && !label.present && label.truth === true);
  const wrongly = (label) => Boolean(label && label.present && label.truth === false);

  function choice(id, title, options) {
    const made = make("select", { id }, ...options.map(([value, text]) => make("option", { value }, text)));
    made.addEventListener("change", update);
    return [made, make("label", {}, title, made)];
  }
  const named = classes.filter((one) => one.id > 0 && one.id < 255).map((one) => [one.id, one.name]);
  const usedFor = [...new Set(frames.map((frame) => frame.split))];
  const [ofClass, classLabel] = choice("filter-class", "class", [["", "any"], ...named]);
  const truths = frames.some(hasTruth);
  const kinds = Object.entries(KINDS).filter(([kind]) => truths || !["missed", "wrong"].includes(kind));
  const [ofKind, kindLabel] = choice("filter-kind", "that is", kinds.map(([kind, one]) => [kind, one.title]));
  const [ofSplit, splitLabel] = choice("filter-split", "frames", [["", "all"], ...usedFor.map((one) => [one, one])]);
  const sorts = Object.entries(SORTS).filter(([sort]) => truths || sort !== "worst");
  const [ofSort, sortLabel] = choice("sort", "sort", sorts.map(([sort, one]) => [sort, one.title]));
  const slider = make("input", { type: "range", min: 0, max: 100, value: 80, id: "opacity" });
  slider.addEventListener("input", () => document.documentElement.style.setProperty("--opacity", slider.value / 100));
  const count = make("output", {});
  document.getElementById("tools").append(
    classLabel, kindLabel, splitLabel, sortLabel, make("label", {}, "opacity", slider), count);

  function update() {
    const id = Number(ofClass.value);
    const has = KINDS[ofKind.value].has;
    const any = ofKind.value === "missed" || ofKind.value === "wrong";
    shown = frames.filter((frame) => (!ofSplit.value || frame.split === ofSplit.value)
      && (id ? has(frame, id) : !any || frame.labels.some((label) => has(frame, label.class))));
    const value = SORTS[ofSort.value].value;
    const known = (frame) => { const found = value(frame, id); return Number.isFinite(found) ? found : Infinity; };
    // Infinity minus itself is no number: frames without a value stay in their order, behind all others.
    if (ofSort.value !== "time") shown.sort((one, other) => (known(one) - known(other)) || 0);
    list.replaceChildren(more);
    added = 0;
    count.textContent = `${shown.length} of ${frames.length} frames`;
    add();
    if (!shown.length) more.before(make("p", { class: "note" }, "No frame is like that."));
  }

  // One frame, large ---------------------------------------------------------------------------------------------
  const large = document.getElementById("large");
  let current = null;
  let view = "model";

  function open(frame) {
    current = frame;
    draw();
    if (!large.open) large.showModal();
  }

  function draw() {
    const frame = current;
    const map = /^map(\d+)$/.exec(view);
    if ((map && Number(map[1]) >= frame.maps.length) || (view === "truth" && !hasTruth(frame))) view = "image";
    const index = view.startsWith("map") ? Number(view.slice(3)) : null;
    const top = index === null ? VIEWS[view].layer(frame)
      : heat(frame, index + 1, `map of ${byId.get(frame.maps[index] + 1).name}`);
    const button = (name, title, key) => {
      const made = make("button", { type: "button", "aria-pressed": String(view === name) }, title,
        key ? make("kbd", {}, key) : null);
      made.addEventListener("click", () => { view = name; draw(); });
      return made;
    };
    const go = (by, text) => {
      const made = make("button", { type: "button", "aria-label": by < 0 ? "previous frame" : "next frame" }, text);
      made.addEventListener("click", () => step(by));
      return made;
    };
    const close = make("button", { type: "button", "aria-label": "close" }, "✕");
    close.addEventListener("click", () => large.close());
    const texts = captions(frame);
    const facts = [["used for", frame.split], ["source", frame.source],
      ["time", frame.time === null ? "–" : `${frame.time.toFixed(2)} s`],
      ["model, mIoU", hasTruth(frame) ? digits(frame.miou) : "no truth"],
      ["confidence", digits(frame.confidence)], ["undecided pixels", share(frame.open)],
      ["masks ≠ model", share(frame.masks_model)], ["maps ≠ model", share(frame.maps_model)]];
    const ious = Object.entries(frame.iou || {}).map(([id, value]) => make("tr", {},
      make("th", { scope: "row" }, byId.get(Number(id)).name), make("td", {}, digits(value))));
    const show = (at) => { if (at !== null) { view = `map${at}`; draw(); } };
    const labels = chips(frame, (at, id, pin) => show(pin ? at : null));
    labels.querySelectorAll(".chip").forEach((chip) => chip.classList.toggle("on", chip.dataset.map === String(index)));
    large.replaceChildren(
      make("div", { class: "bar-top" }, make("h3", {}, frame.name), go(-1, "←"), go(1, "→"), close),
      make("div", { class: "sheet" },
        make("div", {}, windowOf(frame, top),
          make("div", { class: "layers" },
            ...viewsOf(frame).map((name) => button(name, texts[name], VIEWS[name].key)),
            ...frame.maps.map((id, at) => button(`map${at}`, `map: ${byId.get(id + 1).name}`, at < 9 ? at + 1 : "")))),
        make("aside", {}, labels,
          make("table", {}, ...facts.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name),
            make("td", {}, value)))),
          ious.length ? make("h3", {}, "IoU of the model") : null,
          ious.length ? make("table", {}, ...ious) : null,
          frame.answer ? make("h3", {}, "Answer of the language model") : null,
          frame.answer ? make("div", { class: "answer", tabIndex: 0 }, frame.answer) : null)));
    large.setAttribute("aria-label", frame.name);
  }

  function step(by) {
    const at = shown.indexOf(current) + by;
    if (at >= 0 && at < shown.length) { current = shown[at]; draw(); }
  }

  large.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const names = [...viewsOf(current), ...current.maps.map((_, at) => `map${at}`)];
    const letter = Object.keys(VIEWS).find((name) => VIEWS[name].key === event.key);
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const by = event.key === "ArrowDown" ? 1 : names.length - 1;
      view = names[(names.indexOf(view) + by) % names.length];
      draw();
    } else if (letter && names.includes(letter)) { view = letter; draw(); }
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= current.maps.length) {
      view = `map${Number(event.key) - 1}`;
      draw();
    } else return;
    event.preventDefault();
    large.focus({ preventScroll: true });
  });
  large.addEventListener("close", () => {
    while (current && shown.indexOf(current) >= added) add();
    const back = [...list.querySelectorAll(".frame")].find((one) => one.dataset.name === current?.name);
    back?.focus();
    back?.scrollIntoView({ block: "nearest" });
  });
  large.addEventListener("click", (event) => { if (event.target === large) large.close(); });

  update();
})();
