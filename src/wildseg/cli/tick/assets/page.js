// Ticks of tiles: every change is sent at once; names are set as text, so that none becomes markup.
"use strict";

const KEYS = "1234567890qwertyuiopasdfghjklzxcvbm";
const byId = (id) => document.getElementById(id);
let state = null;
let shown = 0; // frame
let at = [0, 0]; // row and column of the marked tile
let sending = Promise.resolve();

const frame = () => state.frames[shown];
const isDone = (one) => one.ticked.every((row) => row.every(Boolean));

function element(name, text, properties = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  return Object.assign(made, properties);
}

function show() {
  const { name, tiles, ticked } = frame();
  const done = state.frames.filter(isDone).length;
  byId("where").textContent = `${name}: frame ${shown + 1} of ${state.frames.length}, ${done} with all ticks`;
  const image = byId("frame");
  const address = `/frames/${encodeURIComponent(name)}.jpg`;
  if (image.getAttribute("src") !== address) image.setAttribute("src", address);
  const grid = byId("grid");
  grid.style.gridTemplate = `repeat(${state.grid[0]}, 1fr) / repeat(${state.grid[1]}, 1fr)`;
  grid.replaceChildren(...tiles.flatMap((row, i) => row.map((classes, j) => {
    const tile = element("button", "", { type: "button", className: ticked[i][j] ? "ticked" : "" });
    tile.setAttribute("aria-label", `row ${i + 1}, column ${j + 1}`);
    tile.setAttribute("aria-current", String(i === at[0] && j === at[1]));
    tile.addEventListener("click", () => { at = [i, j]; show(); });
    tile.append(...classes.map((k) => {
      const mark = element("span", state.classes[k]);
      mark.style.borderLeftColor = state.colours[k];
      return mark;
    }));
    return tile;
  })));
  const here = tiles[at[0]][at[1]];
  byId("classes").replaceChildren(...state.classes.map((label, k) => {
    const line = element("li", "");
    const button = element("button", label, { type: "button" });
    if (KEYS[k]) button.prepend(element("kbd", KEYS[k]));
    button.style.borderLeftColor = state.colours[k];
    button.setAttribute("aria-pressed", String(here.includes(k)));
    button.addEventListener("click", (event) => toggle(k, event.shiftKey));
    line.append(button);
    return line;
  }));
}

function places(all) {
  return all ? frame().tiles.flatMap((row, i) => row.map((_, j) => [i, j])) : [at];
}

function toggle(k, all) {
  const { tiles, ticked } = frame();
  const remove = tiles[at[0]][at[1]].includes(k);
  for (const [i, j] of places(all)) {
    const rest = tiles[i][j].filter((other) => other !== k);
    tiles[i][j] = remove ? rest : [...rest, k].sort((one, other) => one - other);
    ticked[i][j] = true;
  }
  save();
}

function save() {
  const { name, tiles, ticked } = frame();
  const body = JSON.stringify({ frame: name, tiles: tiles.map((row, i) => row.map((one, j) => (ticked[i][j] ? one : null))) });
  const said = byId("saved");
  sending = sending.then(async () => {
    try {
      const headers = { "Content-Type": "application/json", "X-Token": state.token };
      const answer = await fetch("/ticks", { method: "POST", headers, body });
      if (!answer.ok) throw new Error(await answer.text());
      said.textContent = "saved";
      said.className = "";
    } catch (error) {
      said.textContent = `not saved: ${error.message}`;
      said.className = "failed";
    }
  });
  show();
}

function go(number) {
  shown = Math.min(Math.max(number, 0), state.frames.length - 1);
  at = [0, 0];
  show();
}

function move(down, right) {
  at = [(at[0] + down + state.grid[0]) % state.grid[0], (at[1] + right + state.grid[1]) % state.grid[1]];
  show();
}

function keep() {
  const { ticked } = frame();
  const before = !ticked[at[0]][at[1]];
  ticked[at[0]][at[1]] = true;
  if (before) save();
  const next = at[0] * state.grid[1] + at[1] + 1;
  if (next < state.grid[0] * state.grid[1]) {
    at = [Math.floor(next / state.grid[1]), next % state.grid[1]];
    show();
  } else {
    go(shown + 1);
  }
}

function takeBack() {
  frame().ticked[at[0]][at[1]] = false;
  frame().tiles[at[0]][at[1]] = [];
  save();
}

function unfinished() {
  const later = state.frames.findIndex((one, number) => number > shown && !isDone(one));
  go(later >= 0 ? later : Math.max(state.frames.findIndex((one) => !isDone(one)), 0));
}

const COMMANDS = {
  ArrowUp: () => move(-1, 0),
  ArrowDown: () => move(1, 0),
  ArrowLeft: () => move(0, -1),
  ArrowRight: () => move(0, 1),
  Enter: keep,
  Backspace: takeBack,
  PageDown: () => go(shown + 1),
  PageUp: () => go(shown - 1),
  ".": () => go(shown + 1),
  ",": () => go(shown - 1),
  n: unfinished,
};

document.addEventListener("keydown", (event) => {
  if (!state || event.ctrlKey || event.metaKey || event.altKey) return;
  const digit = /^Digit(\d)$/.exec(event.code); // Shift and a digit is another sign on every keyboard
  const key = digit ? digit[1] : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const k = KEYS.indexOf(key);
  if (COMMANDS[key]) COMMANDS[key]();
  else if (key.length === 1 && k >= 0 && k < state.classes.length) toggle(k, event.shiftKey);
  else return;
  event.preventDefault();
});

fetch("/state.json").then(async (answer) => {
  if (!answer.ok) throw new Error(await answer.text());
  state = await answer.json();
  const first = state.frames.findIndex((one) => !isDone(one));
  go(Math.max(first, 0));
}).catch((error) => {
  byId("saved").textContent = `the page cannot be filled: ${error.message}`;
  byId("saved").className = "failed";
});
