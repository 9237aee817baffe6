// The page at /docs: a card for each route of openapi.json, with its fields and a command to copy.

const EXAMPLES = {
  "/recommend": { history: ["ID", "ID"], k: 10 },
  "/score": { user: "ID", items: ["ID", "ID"] },
  "/explain": { history: ["ID", "ID"], items: ["ID"] },
  "/similar": { item: "ID", by: "vectors", k: 10 },
};

function element(tag, text = "", ...children) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
}

function limits(schema) {
  const kinds = (schema.anyOf ?? [schema]).filter((kind) => kind.type !== "null");
  return kinds.map((kind) => {
    if (kind.type === "number") return kind.type; // its limits are only there to tell seconds from other units
    const low = kind.minimum ?? kind.minItems ?? kind.minLength, high = kind.maximum ?? kind.maxItems ?? kind.maxLength;
    const range = low === undefined ? high === undefined ? "" : `, at most ${high}` : `, ${low} to ${high ?? "any"}`;
    const inner = kind.items ? ` of ${limits(kind.items)}` : "";
    return (kind.type ?? "object") + inner + range;
  }).join(" or ");
}

function table(path, rows) {
  const head = element("tr", "", ...["field", "type and limits", "default", "meaning"].map((text) => {
    const cell = element("th", text);
    cell.scope = "col";
    return cell;
  }));
  const body = rows.map((row) => element("tr", "", element("td", "", element("code", row[0])),
    ...row.slice(1).map((text) => element("td", text))));
  const wide = element("div", "", element("table", "", element("thead", "", head), element("tbody", "", ...body)));
  wide.className = "wide";
  wide.tabIndex = 0;
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", `Fields of ${path}`);
  return wide;
}

function card(api, path, method, route) {
  const reference = route.requestBody?.content["application/json"].schema.$ref;
  const schema = reference && api.components.schemas[reference.split("/").pop()];
  const row = (name, field, required, about) =>
    [name, limits(field), required ? "required" : JSON.stringify(field.default ?? null), about ?? ""];
  const rows = schema
    ? Object.entries(schema.properties).map(([name, field]) =>
      row(name, field, schema.required?.includes(name), field.description))
    : (route.parameters ?? []).map((one) => row(one.name, one.schema, one.required, one.description));
  const made = element("section", "", element("h2", `${method.toUpperCase()} ${path}`), element("p", route.description));
  made.className = "card";
  if (rows.length) made.append(table(path, rows));
  const body = EXAMPLES[path] && ` --json '${JSON.stringify(EXAMPLES[path])}'`;
  const query = path === "/items" ? "?query=star" : "";
  const example = element("pre", "", element("code", `curl '${location.origin}${path}${query}'${body ?? ""}`));
  example.tabIndex = 0;
  made.append(example);
  const failures = Object.entries(route.responses).filter(([status]) => status >= "400");
  if (failures.length) {
    made.append(element("p", failures.map(([status, one]) => `${status}: ${one.description}`).join(" ")));
  }
  return made;
}

const api = await (await fetch("openapi.json")).json();
document.getElementById("routes").append(...Object.entries(api.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, route]) => card(api, path, method, route))));
