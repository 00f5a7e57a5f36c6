"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const table = document.getElementById("list");
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const rows = all("#list tbody tr");
  const sectionOf = new Map(rows.map((row) => [row, document.getElementById(row.dataset.document)]));
  const texts = new Map();
  let scrolledTo = 0;
  root.classList.add("scripted");

  // The list

  function textOf(row) {
    if (!texts.has(row)) texts.set(row, `${row.textContent} ${sectionOf.get(row).textContent}`.toLowerCase());
    return texts.get(row);
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => textOf(row).includes(word));
    found.textContent = `${listed().length} of ${rows.length}`;
  }

  function listed() {
    return all("#list tbody tr").filter((row) => !row.hidden);
  }

  function compared(key, one, other) {
    if (key !== "title") return one.dataset[key] - other.dataset[key];
    const [a, b] = [one, other].map((row) => row.querySelector("a").textContent);
    return a.localeCompare(b, undefined, { numeric: true });
  }

  function sort(head) {
    const key = head.dataset.key;
    const before = head.getAttribute("aria-sort");
    const up = before ? before === "descending" : key === "title";
    for (const each of all("th[data-key]", table)) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const known = (row) => row.dataset[key] !== "";
    const ordered = rows.filter(known).sort((one, other) => (up ? 1 : -1) * compared(key, one, other));
    table.tBodies[0].append(...ordered, ...rows.filter((row) => !known(row)));
  }

  // One document

  function show() {
    const target = document.getElementById(location.hash.slice(1));
    const shown = target && target.closest(".document");
    const before = document.querySelector(".document.shown");
    if (!before) scrolledTo = scrollY;
    if (before) before.classList.remove("shown");
    root.classList.toggle("reading", Boolean(shown));
    for (const link of all(".cited.current")) link.classList.remove("current");
    if (!shown) return back(before);
    shown.classList.add("shown");
    neighbors(shown);
    for (let each = target; each !== shown; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    if (target === shown) {
      scrollTo(0, 0);
      shown.focus({ preventScroll: true });
      return;
    }
    for (const link of all(`.cited[href="#${target.id}"]`, shown)) link.classList.add("current");
    target.scrollIntoView({ block: "nearest" });
    (target.querySelector("summary") || target).focus({ preventScroll: true });
  }

  function back(before) {
    scrollTo(0, scrolledTo);
    const row = before && rows.find((each) => sectionOf.get(each) === before);
    if (row) row.querySelector("a").focus({ preventScroll: true });
  }

  function neighbors(shown) {
    const order = listed();
    const place = order.findIndex((row) => sectionOf.get(row) === shown);
    const link = (name, row) => {
      const anchor = shown.querySelector(`nav .${name}`);
      if (row) anchor.href = `#${row.dataset.document}`;
      else anchor.removeAttribute("href");
    };
    link("previous", order[place - 1]);
    link("next", place < 0 ? undefined : order[place + 1]);
    shown.querySelector("nav .where").textContent = place < 0 ? "" : `${place + 1} of ${order.length}`;
  }

  // What a person does

  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    // No event tells of a hash that stays.
    if (link && link.getAttribute("href") === location.hash) {
      event.preventDefault();
      show();
    }
    const row = !link && event.target.closest("#list tbody tr");
    if (row && getSelection().isCollapsed) location.hash = row.dataset.document;
    const head = event.target.closest("th[data-key]");
    if (head) sort(head);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = document.querySelector(".document.shown");
    if (event.target === search) {
      if (event.key === "Enter" && listed().length) location.hash = listed()[0].dataset.document;
    } else if (event.key === "/" && !shown) {
      event.preventDefault();
      search.focus();
    } else if (shown && event.key === "Escape") {
      location.hash = "list";
    } else if (shown && (event.key === "j" || event.key === "k")) {
      const link = shown.querySelector(event.key === "j" ? "nav .next" : "nav .previous");
      if (link.hash) location.hash = link.hash;
    }
  });

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all(".document.shown details:not([open])");
    for (const each of opened) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
  });
  addEventListener("hashchange", show);
  search.addEventListener("input", filter);
  filter();
  show();
})();
