"use strict";
// Strips: a slider between two states, and a view at 1:1 that all frames of a strip share.
(() => {
  const STEP = 48, CLICK = 5;

  const fitted = (box, width, height) => {
    const share = Math.min(box.width / width, box.height / height);
    const size = { width: width * share, height: height * share };
    return { ...size, left: (box.width - size.width) / 2, top: (box.height - size.height) / 2 };
  };
  const clamped = (value, low, high) => (low > high ? (low + high) / 2 : Math.min(high, Math.max(low, value)));

  function start(strip) {
    const full = { width: +strip.dataset.width, height: +strip.dataset.height };
    const frames = [...strip.querySelectorAll("[data-frame]")];
    const range = strip.querySelector("input[type=range]");
    const button = strip.querySelector("button.zoom");
    const marks = [...strip.querySelectorAll("[data-spot]")];
    const spots = marks.map((mark) => {
      const [left, top, width, height] = mark.dataset.spot.split(" ").map(Number);
      return { left: left * full.width, top: top * full.height, width: width * full.width, height: height * full.height };
    });
    // Without spots the whole is at full size.
    const areas = spots.length ? spots : [{ left: 0, top: 0, ...full }];
    let view = null;  // { area, x, y }: what stands in the middle, in pixels of the largest state

    const drawFrame = (frame) => {
      const box = frame.getBoundingClientRect();
      frame.classList.toggle("zoomed", view !== null);
      const area = view && areas[view.area];
      for (const layer of frame.querySelectorAll(".layer")) {
        const whole = layer.querySelector(".whole"), cuts = layer.querySelectorAll(".spot");
        const seen = view && (cuts.length ? cuts[view.area] : whole);
        whole.hidden = Boolean(view && cuts.length);
        cuts.forEach((cut) => { cut.hidden = cut !== seen; });
        whole.removeAttribute("style");
        if (seen) {
          seen.style.width = `${area.width}px`;
          seen.style.height = `${area.height}px`;
          seen.style.left = `${Math.round(box.width / 2 - (view.x - area.left))}px`;
          seen.style.top = `${Math.round(box.height / 2 - (view.y - area.top))}px`;
        }
      }
    };
    const draw = () => {
      if (view) {
        // No frame shows what is beside the area: the narrowest and the lowest set the limits.
        const area = areas[view.area];
        const boxes = frames.map((frame) => frame.getBoundingClientRect());
        const half = { x: Math.max(...boxes.map((b) => b.width)) / 2, y: Math.max(...boxes.map((b) => b.height)) / 2 };
        view.x = clamped(view.x, area.left + half.x, area.left + area.width - half.x);
        view.y = clamped(view.y, area.top + half.y, area.top + area.height - half.y);
      }
      frames.forEach(drawFrame);
      if (button) button.setAttribute("aria-pressed", String(view !== null));
    };
    const placeMarks = () => marks.forEach((mark, index) => {
      const seen = fitted(mark.parentElement.getBoundingClientRect(), full.width, full.height);
      const share = seen.width / full.width, spot = spots[index];
      Object.assign(mark.style, {
        left: `${seen.left + spot.left * share}px`, top: `${seen.top + spot.top * share}px`,
        width: `${spot.width * share}px`, height: `${spot.height * share}px`,
      });
    });
    const open = (x, y) => {
      const far = (a) => Math.hypot(a.left + a.width / 2 - x, a.top + a.height / 2 - y);
      const inside = (a) => x >= a.left && x <= a.left + a.width && y >= a.top && y <= a.top + a.height;
      const order = areas.map((a, index) => [inside(a) ? 0 : 1, far(a), index]);
      order.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      view = { area: order[0][2], x, y };
      draw();
    };
    const openMiddle = () => open(areas[0].left + areas[0].width / 2, areas[0].top + areas[0].height / 2);
    const close = () => { view = null; draw(); };
    const toggle = () => (view ? close() : openMiddle());
    const split = (value) => {
      range.value = value;
      frames[0].style.setProperty("--split", `${range.value}%`);
      range.setAttribute("aria-valuetext", `${range.value} %`);
    };

    if (range) range.addEventListener("input", () => split(range.value));
    if (button) button.addEventListener("click", toggle);
    frames.forEach((frame) => {
      let drag = null;
      frame.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        drag = { x: event.clientX, y: event.clientY, moved: false };
        frame.setPointerCapture(event.pointerId);
      });
      frame.addEventListener("pointermove", (event) => {
        if (!drag) return;
        const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
        if (!drag.moved && Math.hypot(dx, dy) < CLICK) return;
        drag.moved = true;
        if (view) {
          view.x -= dx; view.y -= dy;
          drag.x = event.clientX; drag.y = event.clientY;
          draw();
        } else if (range && frame === frames[0]) {
          const box = frame.getBoundingClientRect();
          split(clamped((100 * (event.clientX - box.left)) / box.width, 0, 100));
        }
      });
      const end = (event) => {
        const clicked = drag && !drag.moved && event.type === "pointerup";
        drag = null;
        if (!clicked) return;
        if (view) { close(); return; }
        const box = frame.getBoundingClientRect();
        const seen = fitted(box, full.width, full.height);
        open(
          ((event.clientX - box.left - seen.left) / seen.width) * full.width,
          ((event.clientY - box.top - seen.top) / seen.height) * full.height,
        );
      };
      frame.addEventListener("pointerup", end);
      frame.addEventListener("pointercancel", end);
      frame.addEventListener("keydown", (event) => {
        const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
        if (event.key === "Enter") toggle();
        else if (event.key === "Escape" && view) close();
        else if (view && moves[event.key]) {
          view.x += STEP * moves[event.key][0];
          view.y += STEP * moves[event.key][1];
          draw();
        } else return;
        event.preventDefault();
      });
    });

    // Of more than two states, the first frame shows copies of any two.
    // By their places: names may be alike.
    const states = [...strip.querySelectorAll(".cell .layer")];
    const choose = (select) => {
      const copy = states[select.value].cloneNode(true);
      copy.className = `layer ${select.dataset.side}`;
      const layers = frames[0].querySelector(".layers"), old = layers.querySelector(`.${select.dataset.side}`);
      if (old) old.replaceWith(copy);
      else if (select.dataset.side === "under") layers.prepend(copy);
      else layers.append(copy);
      frames[0].querySelector(select.dataset.side === "over" ? ".tag.left" : ".tag.right").textContent = select.selectedOptions[0].textContent;
      draw();
    };
    strip.querySelectorAll("select").forEach((select) => {
      select.addEventListener("change", () => choose(select));
      choose(select);
    });
    new ResizeObserver(() => { placeMarks(); draw(); }).observe(strip);
    placeMarks();
  }

  // A difference of infinities is no number.
  const compare = (x, y) => (x < y ? -1 : x > y ? 1 : 0);

  function sortable(table) {
    const headings = [...table.querySelectorAll("th")], body = table.tBodies[0];
    headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const order = (a, b) => {
        const [x, y] = [a.cells[column], b.cells[column]];
        const found = "value" in x.dataset && "value" in y.dataset
          ? compare(+x.dataset.value, +y.dataset.value)
          : x.textContent.localeCompare(y.textContent);
        return ascending ? found : -found;
      };
      body.append(...[...body.rows].sort(order));
    }));
  }

  document.querySelectorAll("[data-strip]").forEach((strip) => { if (strip.querySelector("[data-frame]")) start(strip); });
  document.querySelectorAll("table[data-sortable]").forEach(sortable);
})();
