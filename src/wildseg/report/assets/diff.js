(() => {
  // Frames: sorted by what is chosen, and gone through by keys.
  const list = document.getElementById("list");
  const sort = document.getElementById("sort");
  if (!list || !sort) return;
  const known = (frame, key, sign) => (frame.dataset[key] ? sign * Number(frame.dataset[key]) : Infinity);
  sort.addEventListener("change", () => {
    const [key, sign] = sort.value.split(" ");
    // Infinity minus itself is no number: frames without a value stay in their order, behind all others.
    const frames = [...list.children].sort((a, b) => (known(a, key, sign) - known(b, key, sign)) || 0);
    list.replaceChildren(...frames);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || ["SELECT", "INPUT"].includes(event.target.tagName)) return;
    const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    const frames = [...list.children];
    const at = frames.indexOf(document.activeElement.closest(".frame"));
    const next = frames[at + by];
    if (!by || (at < 0 && by < 0) || !next) return;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    event.preventDefault();
  });
})();
