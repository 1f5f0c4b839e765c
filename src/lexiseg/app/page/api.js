const make = (tag, text, name) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
};
const spec = await (await fetch("/openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema);
const typeOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return schema.format || schema.type || "";
};
const fields = (schema) =>
  Object.entries(resolve(schema)?.properties || {})
    .map(([name, each]) => `${name}: ${typeOf(each)}`)
    .join("\n");

document.getElementById("curl").textContent = `curl --data-binary @photo.jpg "${location.origin}/api/segment?words=cat,grass,sky"`;
const list = document.getElementById("paths");
for (const [path, methods] of Object.entries(spec.paths))
  for (const [method, operation] of Object.entries(methods)) {
    const box = make("details"), head = make("summary");
    head.append(make("span", method.toUpperCase(), "method"), make("code", path));
    box.append(head, make("p", operation.description || operation.summary || ""));
    for (const each of operation.parameters || []) box.append(make("p", `${each.in} ${each.name}: ${typeOf(each.schema)}${each.required ? ", required" : ""}`, "muted"));
    for (const [media, body] of Object.entries(operation.requestBody?.content || {})) box.append(make("p", `Body, ${media}: ${typeOf(body.schema)}`, "muted"), make("pre", fields(body.schema)));
    for (const [status, answer] of Object.entries(operation.responses)) {
      if (status >= "300") continue;
      for (const [media, body] of Object.entries(answer.content || {})) box.append(make("p", `Answer ${status}, ${media}: ${typeOf(body.schema)}`, "muted"), make("pre", fields(body.schema)));
    }
    for (const pre of box.querySelectorAll("pre")) if (!pre.textContent) pre.remove();
    list.append(box);
  }
