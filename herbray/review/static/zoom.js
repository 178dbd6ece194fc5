"use strict";
// Enlarges a picture inside its box, which scrolls: by keys, wheel with Ctrl, double click, or touch; a mouse drags it.

function makeZoom(box) {
  const picture = box.querySelector("img");
  const MOST = 8;
  let scale = 1;

  function set(wanted) {
    const before = scale;
    scale = Math.min(MOST, Math.max(1, wanted));
    const [x, y] = [box.scrollLeft + box.clientWidth / 2, box.scrollTop + box.clientHeight / 2];
    picture.style.width = picture.style.height = `${scale * 100}%`;
    box.scrollLeft = (x * scale) / before - box.clientWidth / 2;
    box.scrollTop = (y * scale) / before - box.clientHeight / 2;
    box.classList.toggle("enlarged", scale > 1);
  }

  let from = null;
  box.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || scale === 1) return;
    from = [event.clientX + box.scrollLeft, event.clientY + box.scrollTop];
    box.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  box.addEventListener("pointermove", (event) => {
    if (from) [box.scrollLeft, box.scrollTop] = [from[0] - event.clientX, from[1] - event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => { from = null; });
  box.addEventListener("dblclick", () => set(scale > 1 ? 1 : 3));
  box.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    set(scale * (event.deltaY < 0 ? 1.25 : 0.8));
  }, { passive: false });
  return { by: (factor) => set(scale * factor), fit: () => set(1) };
}
