// Dialogs of actions: each says what will happen, asks for what is needed, and shows what the server answers.
import { html, useEffect, useRef, useState } from "../html.js";
import { Fault } from "./parts.js";

const Input = ({ field, value, onChange }) => {
  const { name, kind = "text", options, required, max = 500, hint } = field;
  const change = (event) => onChange(kind === "checkbox" ? event.target.checked : event.target.value);
  if (options)
    return html`<select name=${name} value=${value} onChange=${change}>
      ${options.map(([option, text]) => html`<option key=${option} value=${option} selected=${option === value}>${text}</option>`)}
    </select>`;
  if (kind === "area") return html`<textarea name=${name} rows="3" maxlength=${max} required=${required} value=${value} onInput=${change}></textarea>`;
  return html`<input type=${kind} name=${name} maxlength=${max} required=${required} placeholder=${hint ?? ""} spellcheck=${false} value=${value} onInput=${change} />`;
};

const FieldRow = ({ field, value, onChange }) =>
  field.kind === "checkbox"
    ? html`<label class="choice"><input type="checkbox" name=${field.name} checked=${value} onChange=${(event) => onChange(event.target.checked)} /> ${field.label}</label>`
    : html`<label class="field"><span>${field.label} ${!field.required && !field.options && html`<span class="quiet">optional</span>`}</span>
        <${Input} field=${field} value=${value} onChange=${onChange} />
      </label>`;

const begin = (fields) => Object.fromEntries(fields.map((field) => [field.name, field.value ?? (field.kind === "checkbox" ? false : "")]));

// `action` is {title, effects, fields, submit, danger, run(values), done(answer)}; null: no dialog.
export const ActionDialog = ({ action, onClose, onDone }) => {
  const dialog = useRef(null);
  const [values, setValues] = useState({});
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [result, setResult] = useState(null);
  useEffect(() => {
    if (!action) return undefined;
    setValues(begin(action.fields ?? []));
    setError(null);
    setResult(null);
    const opener = document.activeElement;
    dialog.current.showModal();
    return () => opener?.focus?.();
  }, [action]);
  if (!action) return null;
  const fields = (action.fields ?? []).filter((field) => !field.when || field.when(values));
  const run = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const answer = await action.run(values);
      const shown = action.result?.(answer);
      onDone(action.done?.(answer) ?? "Done.");
      if (shown) setResult(shown);
      else onClose();
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  return html`<dialog ref=${dialog} class="dialog" aria-labelledby="dialog-title" onClose=${onClose} onCancel=${(event) => busy && event.preventDefault()}>
    <form class="panel-form" onSubmit=${run} autocomplete="off">
      <h2 id="dialog-title">${action.title}</h2>
      ${result
        ? html`${result}<p class="actions"><button type="button" class="primary" onClick=${onClose}>Close</button></p>`
        : html`<ul class="effects">${action.effects.filter(Boolean).map((effect) => html`<li>${effect}</li>`)}</ul>
            ${fields.map(
              (field) => html`<${FieldRow} key=${field.name} field=${field} value=${values[field.name] ?? field.value ?? ""} onChange=${(value) => setValues((before) => ({ ...before, [field.name]: value }))} />`,
            )}
            <${Fault} error=${error} />
            <p class="actions">
              <button type="submit" class=${action.danger ? "primary danger" : "primary"} disabled=${busy}>${busy ? "Working …" : action.submit}</button>
              <button type="button" class="try" disabled=${busy} onClick=${onClose}>Cancel</button>
            </p>`}
    </form>
  </dialog>`;
};
