// A form for a value of a schema: an input for each field, a list for arrays, JSON for everything else.
import { html, useState } from "../html.js";
import { describeConstraints, describeText, describeType, findTag, isNull, options, resolve } from "../schema.js";
import { Inline } from "../prose.js";
import { findOption, makeValue } from "./values.js";

let ids = 0;

const useId = () => useState(() => `field-${++ids}`)[0];

// The form itself, and the same value as JSON.
export const ValueEditor = ({ schema, defs, value, onChange, onInvalid, label }) => {
  const [asJson, setAsJson] = useState(false);
  const toggle = () => {
    onInvalid(false);
    setAsJson(!asJson);
  };
  return html`<fieldset class="editor">
    <legend>
      ${label}
      <button type="button" class="link" onClick=${toggle}>${asJson ? "Edit as form" : "Edit as JSON"}</button>
    </legend>
    ${asJson
      ? html`<${JsonField} value=${value} onChange=${onChange} onInvalid=${onInvalid} label=${`${label} as JSON`} rows=${10} />`
      : html`<${Value} schema=${schema} defs=${defs} value=${value} onChange=${onChange} onInvalid=${onInvalid} name="" />`}
  </fieldset>`;
};

const JsonField = ({ value, onChange, onInvalid, label, id, describedBy, rows = 3 }) => {
  const [text, setText] = useState(() => JSON.stringify(value, null, 2) ?? "null");
  const [error, setError] = useState("");
  const edit = (event) => {
    setText(event.target.value);
    try {
      onChange(JSON.parse(event.target.value));
      setError("");
      onInvalid(false);
    } catch (fault) {
      setError(fault.message);
      onInvalid(true);
    }
  };
  return html`<textarea id=${id} rows=${rows} spellcheck=${false} aria-label=${id ? undefined : label} aria-describedby=${describedBy} aria-invalid=${error !== ""} value=${text} onInput=${edit}></textarea>
    ${error && html`<p class="fault" role="alert">${error}</p>`}`;
};

const Value = ({ schema, defs, value, ...shared }) => {
  const { schemas } = options(schema, defs);
  if (schemas.length > 1) return html`<${Union} schemas=${schemas} defs=${defs} value=${value} ...${shared} />`;
  const found = resolve(schemas[0] ?? schema, defs);
  if (found.properties) return html`<${Members} schema=${found} defs=${defs} value=${value} ...${shared} />`;
  if (found.type === "array" && found.items && !found.prefixItems) return html`<${List} schema=${found} defs=${defs} value=${value} ...${shared} />`;
  return html`<${Scalar} schema=${found} value=${value} ...${shared} />`;
};

const Members = ({ schema, defs, value, onChange, onInvalid }) => {
  const known = value && typeof value === "object" ? value : {};
  const set = (name, member) => onChange({ ...known, [name]: member });
  const remove = (name) => {
    const { [name]: _, ...rest } = known;
    onChange(rest);
  };
  return Object.entries(schema.properties).map(
    ([name, field]) =>
      html`<${Member} key=${name} name=${name} schema=${field} defs=${defs} required=${(schema.required ?? []).includes(name)} value=${known[name]}
        onChange=${(member) => set(name, member)} onRemove=${() => remove(name)} onInvalid=${onInvalid} />`,
  );
};

const isSimple = (schema, defs) => {
  const { schemas } = options(schema, defs);
  return schemas.length <= 1 && !schemas[0]?.properties && !(schemas[0]?.type === "array" && schemas[0].items && !schemas[0].prefixItems);
};

const Member = ({ name, schema, defs, required, value, onChange, onRemove, onInvalid }) => {
  const id = useId();
  const { nullable } = options(schema, defs);
  const mayLack = !required || nullable;
  const has = value !== undefined && value !== null;
  const begin = () => {
    const { schemas } = options(schema, defs);
    onChange(makeValue(schemas[0] ?? {}, defs));
  };
  const drop = () => (required ? onChange(null) : onRemove());
  // The choices of an enumeration are in its list.
  const rules = describeConstraints(schema, defs).filter((rule) => !rule.startsWith("one of "));
  const hint = [describeText(schema, defs), rules.join("; ")].filter(Boolean).join(" · ");
  const simple = isSimple(schema, defs);
  const head = html`
    ${mayLack && html`<input type="checkbox" checked=${has} aria-label=${`Send ${name}`} onChange=${has ? drop : begin} />`}
    <span class="member-name">${name}</span> <span class="type">${describeType(schema, defs)}</span>
  `;
  const inner = has && html`<${Value} schema=${schema} defs=${defs} value=${value} onChange=${onChange} onInvalid=${onInvalid} name=${name} id=${id} describedBy=${hint && `${id}-hint`} />`;
  const note = hint && html`<p class="hint" id=${`${id}-hint`}><${Inline} text=${hint} /></p>`;
  return simple
    ? html`<div class="member"><div class="member-head">${mayLack ? head : html`<label for=${id}>${head}</label>`}</div>${inner}${note}</div>`
    : html`<fieldset class="member nested"><legend>${head}</legend>${note}${inner}</fieldset>`;
};

const List = ({ schema, defs, value, onChange, onInvalid, name }) => {
  const items = Array.isArray(value) ? value : [];
  const replace = (index, item) => onChange(items.map((old, position) => (position === index ? item : old)));
  return html`<div class="list">
    ${items.map(
      (item, index) => html`<div class="list-item">
        <div class="list-value">
          <${Value} schema=${schema.items} defs=${defs} value=${item} onChange=${(made) => replace(index, made)} onInvalid=${onInvalid} name=${`${name} ${index + 1}`} />
        </div>
        <button type="button" class="icon-button small" aria-label=${`Remove ${name} ${index + 1}`} onClick=${() => onChange(items.filter((_, position) => position !== index))}>×</button>
      </div>`,
    )}
    <button type="button" class="link" onClick=${() => onChange([...items, makeValue(schema.items, defs)])}>Add an element</button>
  </div>`;
};

const Union = ({ schemas, defs, value, onChange, onInvalid, name }) => {
  const chosen = findOption(schemas, value);
  const title = (schema) => (schema.properties ? findTag(schema).replaceAll("`", "") : describeType(schema, defs));
  return html`<div class="union">
    <select aria-label=${`Form of ${name || "the data"}`} value=${chosen} onChange=${(event) => onChange(makeValue(schemas[event.target.value], defs))}>
      ${schemas.map((schema, index) => html`<option value=${index} selected=${index === chosen}>${title(schema)}</option>`)}
    </select>
    <${Value} key=${chosen} schema=${schemas[chosen]} defs=${defs} value=${value} onChange=${onChange} onInvalid=${onInvalid} name=${name} />
  </div>`;
};

// A number is sent as it is typed once it is one; anything else is sent as text, so that one sees the server's answer.
const readNumber = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

const Scalar = ({ schema, value, onChange, onInvalid, name, id, describedBy }) => {
  const shared = { id, "aria-label": id ? undefined : name, "aria-describedby": describedBy || undefined };
  if (schema.const !== undefined) return html`<output ...${shared}>${JSON.stringify(schema.const)}</output>`;
  const choices = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (choices) {
    const chosen = choices.findIndex((choice) => choice === value);
    return html`<select ...${shared} value=${chosen} onChange=${(event) => onChange(choices[event.target.value])}>
      ${choices.map((choice, index) => html`<option value=${index} selected=${index === chosen}>${typeof choice === "string" ? choice : JSON.stringify(choice)}</option>`)}
    </select>`;
  }
  if (schema.type === "integer" || schema.type === "number") {
    return html`<input ...${shared} type="text" inputmode="decimal" autocomplete="off" value=${String(value ?? "")} onInput=${(event) => onChange(readNumber(event.target.value))} />`;
  }
  if (schema.type === "string") {
    const edit = (event) => onChange(event.target.value);
    return (schema.maxLength ?? 0) > 200 || String(value ?? "").length > 60
      ? html`<textarea ...${shared} rows="2" value=${String(value ?? "")} onInput=${edit}></textarea>`
      : html`<input ...${shared} type="text" autocomplete="off" spellcheck=${false} value=${String(value ?? "")} onInput=${edit} />`;
  }
  return isNull(schema)
    ? html`<output ...${shared}>null</output>`
    : html`<${JsonField} ...${{ id, describedBy }} value=${value} onChange=${onChange} onInvalid=${onInvalid} label=${name} />`;
};

// Arguments on the wire and the one value that a form edits.

export const toFormValue = (item, args) => {
  if (item.arguments !== "positional") return structuredClone(args[0] ?? {});
  return Object.fromEntries(args.map((value, index) => [item.parameters[index]?.name ?? index, structuredClone(value)]));
};

export const toArguments = (item, value) => {
  if (item.arguments !== "positional") return [value];
  const listed = item.parameters.map(({ name }) => value?.[name]);
  while (listed.length && listed.at(-1) === undefined) listed.pop();
  return listed.map((each) => (each === undefined ? null : each));
};

// How `data` of a publish request holds the arguments: nothing, the one value, or a list.
export const toData = (item, value) => {
  const args = toArguments(item, value);
  if (item.arguments !== "positional") return args[0];
  return item.parameters.length > 1 ? args : args[0];
};

export const fromData = (item, data) => {
  if (item.arguments !== "positional") return structuredClone(data ?? {});
  if (!item.parameters.length) return {};
  return toFormValue(item, item.parameters.length > 1 ? data : [data]);
};
