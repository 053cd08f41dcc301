// Adds what gradio's parts lack: labels for screen readers, keyboard control, and pasting.
// `names` are the labels of the examples.
(names) => {
  const STEP = 0.05;
  const KINDS = "image/*,.tif,.tiff,.bmp,.webp,.gif";
  const WORDS = {
    "Drop or paste photos here": "Drop a colour photo here",
    "- or -": "or",
    "Choose some": "choose one",
  };
  const find = (what) => document.querySelector(what);
  const all = (what) => [...document.querySelectorAll(what)];
  const set = (part, name, value) => {
    if (part && part.getAttribute(name) !== value) part.setAttribute(name, value);
  };

  // Gradio shows the same text in all drop zones.
  const reword = () => {
    const upload = find("#reference-upload [data-testid=upload-text]");
    const walker = upload && document.createTreeWalker(upload, NodeFilter.SHOW_TEXT);
    while (walker?.nextNode()) {
      const node = walker.currentNode;
      const found = node.data.trim();
      if (WORDS[found]) node.data = node.data.replace(found, WORDS[found]);
    }
  };

  const line = () => find("#result [data-testid=slider]");
  // The picture under the line, and the fraction of its width that is left of the line.
  const frame = () => find("#result img").getBoundingClientRect();
  const share = () => parseFloat(find("#result img.fixed").style.clipPath.split(" ").at(-1)) / 100;

  const say = () => {
    const value = Math.round(100 * Math.min(1, Math.max(0, share())));
    set(line(), "aria-valuenow", `${value}`);
    set(line(), "aria-valuetext", `before on the left ${value} per cent, after on the rest`);
  };

  const move = (to) => {
    const { left, width, top } = frame();
    const at = { clientX: left + to * width, clientY: top, view: window, bubbles: true };
    line().dispatchEvent(new MouseEvent("mousedown", at));
    window.dispatchEvent(new MouseEvent("mouseup", at));
    requestAnimationFrame(say);
  };

  const keyed = (event) => {
    // Positions are rounded to pixels; rounding to a step keeps the errors from adding up.
    const now = STEP * Math.round(share() / STEP);
    const to = {
      ArrowLeft: now - STEP,
      ArrowDown: now - STEP,
      ArrowRight: now + STEP,
      ArrowUp: now + STEP,
      Home: 0,
      End: 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(Math.min(1, Math.max(0, to)));
  };

  // Gradio shows "queue: 1/2" for the first event that waits, while one is being processed.
  const count = () => {
    all("#result [data-testid=status-tracker] *").forEach(({ childNodes }) =>
      childNodes.forEach((node) => {
        const found = node.nodeType === Node.TEXT_NODE && /queue: (\d+)\/\d+/.exec(node.data);
        if (found) node.data = `${found[1]} before you, `;
      }),
    );
  };

  const tidy = () => {
    count();
    const photo = find("#caption b")?.textContent ?? "the photo";
    const [before, after] = all("#result img");
    set(before, "alt", `${photo}, before`);
    set(after, "alt", `${photo}, coloured`);
    all("#queue .thumbnail-item, #gallery .thumbnail-item").forEach((button) => {
      const words = button.querySelector(".caption-label")?.textContent?.trim();
      set(button.querySelector("img"), "alt", words ?? "");
      if (words) set(button, "aria-label", words);
    });
    all("#examples button").forEach((button, i) => {
      set(button, "aria-label", names[i]);
      set(button.querySelector("img"), "alt", names[i]);
    });
    // Filters the file dialog only: other files may be dropped, and are rejected with a message.
    all(":is(#upload, #reference-upload) input[type=file]").forEach((input) =>
      set(input, "accept", KINDS),
    );
    set(find("#reference-remove"), "aria-label", "Take no colours from this photo");
    set(find("#reference-remove"), "title", "Take no colours from this photo");
    set(find("#reference-picture img"), "alt", find("#reference-name")?.textContent?.trim() ?? "");
    reword();
    if (line() && !line().hasAttribute("tabindex")) {
      set(line(), "tabindex", "0");
      set(line(), "role", "slider");
      set(line(), "aria-label", "Line between before and after");
      set(line(), "aria-valuemin", "0");
      set(line(), "aria-valuemax", "100");
      line().addEventListener("keydown", keyed);
      line().addEventListener("focus", say);
    }
  };

  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files;
    const input = find("#upload input[type=file]");
    if (!files?.length || !input) return;
    event.preventDefault();
    input.files = files;
    input.dispatchEvent(new Event("change"));
  });

  const parts = { childList: true, subtree: true };
  new MutationObserver(tidy).observe(document.body, parts);
  new MutationObserver(count).observe(find("#result"), { ...parts, characterData: true });
  tidy();
}
