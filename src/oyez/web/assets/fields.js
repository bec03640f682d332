// The table of an object's fields: name and type, then what it means and which values it takes; nested ones indented.
import { Fragment, html } from "./html.js";
import { Inline } from "./prose.js";
import { findTag, listFields, options } from "./schema.js";

const capitalize = (text) => text.replace(/^[a-z]/, (letter) => letter.toUpperCase());

const Row = ({ field, depth, path }) => {
  const rules = field.rules.length ? `${capitalize(field.rules.join("; "))}.` : "";
  return html`<${Fragment}>
    <tr data-depth=${Math.min(depth, 6)}>
      <th scope="row">
        <div class="field-head">
          <span class="field-name">${path && html`<span class="path">${path}.</span>`}<code>${field.name}</code></span>
          <span class="type">${field.type}</span>
          ${field.required ? html`<span class="required">required</span>` : html`<span class="optional">optional</span>`}
        </div>
      </th>
      <td>
        ${field.text && html`<p><${Inline} text=${field.text} /></p>`}
        ${rules && html`<p class="rules"><${Inline} text=${rules} /></p>`}
      </td>
    </tr>
    ${field.forms.map(
      (form) => html`<${Fragment}>
        ${form.name && html`<${Form} name=${form.name} depth=${depth + 1} />`}
        ${form.fields.map((child) => html`<${Row} field=${child} depth=${depth + 1} path=${join(path, field)} />`)}
      <//>`,
    )}
  <//>`;
};

const join = (path, field) => {
  const name = field.type.startsWith("array") ? `${field.name}[]` : field.name;
  return path ? `${path}.${name}` : name;
};

const Form = ({ name, depth }) =>
  html`<tr data-depth=${depth} class="form"><th scope="rowgroup" colspan="2"><${Inline} text=${name} /></th></tr>`;

export const FieldTable = ({ schema, defs, caption }) => {
  const { schemas } = options(schema, defs);
  const objects = schemas.filter((option) => option.properties);
  const rows = objects.map((object) => ({
    name: objects.length > 1 ? findTag(object) : "",
    fields: listFields(object, defs, object.ref ? [object.ref] : []),
  }));
  if (!rows.some((form) => form.fields.length)) return html`<p class="quiet">No fields.</p>`;
  return html`<table class="fields">
    <caption class="unseen">${caption}</caption>
    <thead class="unseen"><tr><th scope="col">Field</th><th scope="col">Meaning and rules</th></tr></thead>
    <tbody>
      ${rows.map(
        (form) => html`<${Fragment}>
          ${form.name && html`<${Form} name=${form.name} depth=${0} />`}
          ${form.fields.map((field) => html`<${Row} field=${field} depth=${0} path="" />`)}
        <//>`,
      )}
    </tbody>
  </table>`;
};
