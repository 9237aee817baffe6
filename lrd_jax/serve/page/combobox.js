// A text field with a list of suggestions, by the combobox pattern of the ARIA Authoring Practices Guide.

const WAIT_MS = 150;

/**
 * @param {HTMLInputElement} input - with role combobox.
 * @param {HTMLElement} list - with role listbox.
 * @param {HTMLElement} status - told how many suggestions there are.
 * @param {(query: string) => Promise<{item: string, title: string | null}[]>} search
 * @param {(item: {item: string, title: string | null}) => void} choose
 */
export function combobox(input, list, status, search, choose) {
  let options = [], active = -1, timer = 0, asked = 0;

  function close() {
    asked += 1; // an answer under way is not shown
    clearTimeout(timer);
    options = [];
    list.replaceChildren();
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    activate(-1);
  }

  function activate(number) {
    active = number;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === number)));
    if (number < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", list.children[number].id);
      list.children[number].scrollIntoView({ block: "nearest" });
    }
  }

  function show(found) {
    options = found;
    list.replaceChildren(...found.map((one, at) => {
      const option = document.createElement("li");
      option.id = `option-${at}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.textContent = one.title ?? one.item;
      option.addEventListener("mousedown", (event) => { event.preventDefault(); take(at); });
      return option;
    }));
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(found.length > 0));
    activate(-1);
    const none = `No item is like “${input.value.trim()}”.`;
    status.textContent = found.length ? `${found.length} found. Arrow keys and Enter choose.` : none;
  }

  function take(number) {
    const chosen = options[number];
    input.value = "";
    status.textContent = "";
    close();
    choose(chosen);
  }

  async function update() {
    const query = input.value.trim(), number = (asked += 1);
    if (!query) { status.textContent = ""; close(); return; }
    try {
      const found = await search(query);
      if (number === asked) show(found);
    } catch (error) {
      if (number === asked) { close(); status.textContent = error.message; }
    }
  }

  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(update, WAIT_MS); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const last = options.length - 1;
    if (event.key === "ArrowDown" && last < 0) update();
    else if (event.key === "ArrowDown") activate(active >= last ? 0 : active + 1);
    else if (event.key === "ArrowUp" && last >= 0) activate(active <= 0 ? last : active - 1);
    else if (event.key === "Enter" && last >= 0) take(Math.max(active, 0));
    else if (event.key === "Escape") { if (last < 0) input.value = ""; status.textContent = ""; close(); }
    else return;
    event.preventDefault();
  });
}
