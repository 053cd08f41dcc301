// Hints: colours that a visitor sets as dots on the photo, with suggestions for each, and a list.
// This script holds the list; after every change, it sends the whole list to the server.
() => {
  const STEP = 0.01; // distance an arrow key moves a dot, as a fraction of the photo's side
  const STILL = 5; // pixels by which the pointer may move during a click
  const find = (what) => document.querySelector(what);
  let photo = { photo: null, width: 1, height: 1, most: 0, hints: [], doubt: null };
  let hints = []; // {x, y, colour}; colour is null until one is chosen
  let earlier = []; // previous lists, for undo
  let chosen = -1; // index of the hint being edited, or -1
  let asked = 0; // number of the last request for suggestions; answers to earlier ones are ignored
  let swatches = null; // suggestions for the chosen hint; null until they arrive
  let sent = "[]";

  const bounded = (value, size) => Math.min(size - 1, Math.max(0, value));
  const coloured = () => hints.filter((one) => one.colour);
  const say = (part, words) => {
    if (part.textContent !== words) part.textContent = words;
  };

  // Sets the value of a hidden gradio field as if it had been typed.
  const type = (field, value) => {
    const input = find(`${field} textarea, ${field} input`);
    input.value = JSON.stringify(value);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const send = () => {
    const list = JSON.stringify(coloured());
    if (list === sent) return;
    sent = list;
    type("#hints-sent", coloured());
  };

  const ask = () => {
    swatches = null;
    const { x, y } = hints[chosen];
    type("#spot-sent", { x, y, asked: ++asked });
  };

  // Replaces the list; the old one is kept for undo.
  const change = (list, index) => {
    earlier.push(coloured());
    hints = list;
    chosen = index;
    send();
    draw();
  };

  const choose = (index) => {
    // Removes other hints that have no colour yet.
    const kept = hints[index];
    hints = hints.filter((one) => one.colour || one === kept);
    const now = hints.indexOf(kept);
    const isNew = now !== chosen || !swatches;
    chosen = now;
    if (kept && isNew) ask();
    draw();
  };

  const add = (x, y) => {
    hints = coloured();
    if (hints.length >= photo.most) {
      chosen = -1;
      return draw();
    }
    hints.push({ x, y, colour: null });
    chosen = -1;
    choose(hints.length - 1);
  };

  const colour = (value) =>
    change(hints.map((one, i) => (i === chosen ? { ...one, colour: value } : one)), chosen);

  const moveTo = (index, x, y) => {
    const moved = { ...hints[index], x: bounded(x, photo.width), y: bounded(y, photo.height) };
    const list = hints.map((one, i) => (i === index ? moved : one));
    if (moved.colour) change(list, index);
    else [hints, chosen] = [list, index];
    ask();
    draw();
  };

  const remove = (index) => {
    const list = hints.filter((_, i) => i !== index);
    if (hints[index].colour) return change(list, -1);
    [hints, chosen] = [list, -1];
    draw();
  };

  const undo = () => {
    if (chosen >= 0 && !hints[chosen].colour) return remove(chosen);
    if (!earlier.length) return;
    [hints, chosen] = [earlier.pop(), -1];
    send();
    draw();
  };

  const deeds = {
    add: () => add(photo.width >> 1, photo.height >> 1),
    undo,
    clear: () => change([], -1),
    remove: () => remove(chosen),
    done: () => choose(-1),
  };

  // --- rendering ---

  const layer = () => {
    const result = find("#result");
    let found = result.querySelector(":scope > .dots");
    if (!found) {
      found = document.createElement("div");
      found.className = "dots";
      found.innerHTML = '<div class="doubt" hidden></div>';
      result.append(found);
      result.addEventListener("pointerdown", pressed);
      // A tap never fires a click event, because gradio treats it as a pinch.
      result.addEventListener("pointerup", released);
      const move = new MutationObserver(place);
      const image = result.querySelector("img");
      move.observe(image, { attributes: true, attributeFilter: ["style"] });
      new ResizeObserver(place).observe(image);
      new ResizeObserver(place).observe(result);
      result.addEventListener("load", place, true);
    }
    return found;
  };

  // Places the layer over the photo, which may be zoomed, or narrower than its frame.
  const place = () => {
    const image = find("#result img");
    if (!image) return;
    const box = find("#result").getBoundingClientRect();
    const at = image.getBoundingClientRect();
    const scale = Math.min(at.width / photo.width, at.height / photo.height);
    const [width, height] = [photo.width * scale, photo.height * scale];
    const { clientLeft, clientTop } = find("#result");
    Object.assign(layer().style, {
      left: `${at.left - box.left - clientLeft + (at.width - width) / 2}px`,
      top: `${at.top - box.top - clientTop + (at.height - height) / 2}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
  };

  const named = (one, i) =>
    one.colour ? `Your colour ${i + 1}, ${one.colour}` : `Your colour ${i + 1}, not chosen yet`;

  const at = (dot, one) => {
    dot.style.left = `${(100 * (one.x + 0.5)) / photo.width}%`;
    dot.style.top = `${(100 * (one.y + 0.5)) / photo.height}%`;
  };

  const dotOf = (one, i) => {
    const dot = document.createElement("button");
    dot.className = "dot";
    dot.type = "button";
    dot.dataset.index = i;
    dot.setAttribute("aria-label", named(one, i));
    dot.setAttribute("aria-pressed", `${i === chosen}`);
    dot.title = "Click to change, drag to move";
    if (one.colour) dot.style.background = one.colour;
    at(dot, one);
    return dot;
  };

  const buttonOf = (value, words, title, act, pressed) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", title);
    button.setAttribute("aria-pressed", `${pressed}`);
    const patch = document.createElement("span");
    patch.className = "patch";
    patch.style.background = value;
    button.append(patch, words);
    button.addEventListener("click", act);
    return button;
  };

  const drawSpot = () => {
    const one = hints[chosen];
    find("#spot").hidden = !one;
    if (!one) return;
    const part = find("#swatches");
    const list = (swatches ?? []).map(({ colour: value, share }) => {
      const percent = share < 0.01 ? "<1%" : `${Math.round(100 * share)}%`;
      const title = `${value}, ${percent} likely`;
      return buttonOf(value, percent, title, () => colour(value), value === one.colour);
    });
    part.replaceChildren(...list);
    part.setAttribute("aria-busy", `${swatches === null}`);
    say(find("#spot-words"), !swatches ? "Looking …" : list.length ? "Likely here:" : "Colour:");
    if (one.colour) find("#any").value = one.colour;
  };

  const draw = () => {
    const full = coloured().length >= photo.most;
    const focused = document.activeElement?.dataset?.index;
    layer().replaceChildren(layer().querySelector(".doubt"), ...hints.map(dotOf));
    if (focused !== undefined) layer().querySelector(`[data-index="${focused}"]`)?.focus();
    const list = hints.flatMap((one, i) =>
      one.colour
        ? [buttonOf(one.colour, `${i + 1}`, named(one, i), () => choose(i), i === chosen)]
        : [],
    );
    find("#hint-list").replaceChildren(...list);
    find("#hint-list").hidden = !list.length;
    const words = hints[chosen]
      ? "Which colour was this spot? Similar areas around it follow."
      : full
      ? `A photo can have at most ${photo.most} colours of your own.`
      : list.length
        ? "Drag a dot to move it, click it to change it, or click another spot."
        : "Do you know a colour? Click that spot in the photo, and choose it.";
    say(find("#hint-words"), words);
    find("#hinting [data-do=undo]").disabled = !earlier.length && chosen < 0;
    find("#hinting [data-do=clear]").disabled = !list.length;
    find("#hinting [data-do=add]").disabled = full;
    drawSpot();
    place();
  };

  const drawDoubt = () => {
    const shown = find("#doubt-shown");
    const [veil, words] = [layer().querySelector(".doubt"), find("#doubt-words")];
    shown.closest("label").hidden = !photo.doubt;
    veil.hidden = words.hidden = !(photo.doubt && shown.checked);
    const mask = photo.doubt ? `url(${photo.doubt})` : "none";
    veil.style.maskImage = mask;
    veil.style.webkitMaskImage = mask;
  };

  // --- input ---

  const spotAt = ({ clientX, clientY }) => {
    const { left, top, width, height } = layer().getBoundingClientRect();
    return [
      Math.floor(((clientX - left) / width) * photo.width),
      Math.floor(((clientY - top) / height) * photo.height),
    ];
  };

  let down = null; // where a press began, and whether the pointer has moved a dot since

  const pressed = (event) => {
    const dot = event.target.closest?.(".dot");
    // A second finger zooms the photo.
    down = event.isPrimary ? { x: event.clientX, y: event.clientY, moved: false } : null;
    if (!dot || !down) return;
    event.preventDefault();
    const index = Number(dot.dataset.index);
    dot.focus({ preventScroll: true });
    dot.setPointerCapture(event.pointerId);
    dot.onpointermove = (now) => {
      if (Math.hypot(now.clientX - down.x, now.clientY - down.y) > STILL) down.moved = true;
      const [x, y] = spotAt(now);
      if (down.moved) at(dot, { x: bounded(x, photo.width), y: bounded(y, photo.height) });
    };
    dot.onpointerup = (now) => {
      dot.onpointermove = dot.onpointerup = dot.onpointercancel = null;
      if (down.moved) moveTo(index, ...spotAt(now));
      else choose(index);
    };
    dot.onpointercancel = () => draw();
  };

  const released = (event) => {
    if (event.target.closest("button, a, .dot, [data-testid=slider]")) return;
    if (!down || !event.isPrimary || event.button) return;
    if (Math.hypot(event.clientX - down.x, event.clientY - down.y) > STILL) return;
    const [x, y] = spotAt(event);
    if (x === bounded(x, photo.width) && y === bounded(y, photo.height)) add(x, y);
  };

  const keyed = (event) => {
    const dot = event.target.closest?.(".dot");
    if (!dot) return;
    const index = Number(dot.dataset.index);
    const { x, y } = hints[index];
    const [right, up] = [photo.width, photo.height].map((side) => Math.ceil(side * STEP));
    const to = {
      ArrowLeft: [x - right, y],
      ArrowRight: [x + right, y],
      ArrowUp: [x, y - up],
      ArrowDown: [x, y + up],
    }[event.key];
    if (to) moveTo(index, ...to);
    else if (event.key === "Enter" || event.key === " ") choose(index);
    else if (event.key === "Delete" || event.key === "Backspace") remove(index);
    else if (event.key === "Escape") choose(-1);
    else return;
    event.preventDefault();
  };

  const valueOf = (part) => {
    const text = find(`${part} data`)?.getAttribute("value");
    return text ? JSON.parse(text) : null;
  };

  const told = () => {
    const board = valueOf("#board");
    if (board && board.photo !== photo.photo) {
      photo = board;
      hints = board.hints;
      sent = JSON.stringify(hints);
      [earlier, chosen] = [[], -1];
      draw();
      drawDoubt();
    }
    const answer = valueOf("#likely");
    if (answer?.asked === asked && swatches === null && chosen >= 0) {
      swatches = answer.swatches;
      drawSpot();
      find("#spot").scrollIntoView({ behavior: "smooth", block: "nearest" });
    }
  };

  const begin = () => {
    if (!find("#result img") || !find("#hinting") || !find("#board data")) return false;
    find("#hinting").addEventListener("click", (event) => {
      deeds[event.target.closest("[data-do]")?.dataset.do]?.();
    });
    find("#any").addEventListener("change", (event) => colour(event.target.value));
    find("#any").addEventListener("input", (event) => {
      layer().querySelector(`[data-index="${chosen}"]`).style.background = event.target.value;
    });
    find("#doubt-shown").addEventListener("change", drawDoubt);
    document.addEventListener("keydown", keyed);
    const observer = new MutationObserver(told);
    const changes = { childList: true, subtree: true, attributes: true };
    observer.observe(find("#board"), changes);
    observer.observe(find("#likely"), changes);
    told();
    return true;
  };

  if (begin()) return;
  const waiting = new MutationObserver(() => begin() && waiting.disconnect());
  waiting.observe(document.body, { childList: true, subtree: true });
}
