// The parts of the console that send a command and that publish an event.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { CodeBlock, CopyButton } from "../code.js";
import { canPublish, exampleRoom } from "../samples.js";
import { explain, findRefusals, hasSucceeded } from "./answers.js";
import { fromData, toArguments, toData, toFormValue, ValueEditor } from "./form.js";
import { inVersion } from "../model.js";
import { write } from "./log.js";
import { askForToken, explainProblem } from "./tokens.js";

const Picker = ({ label, items, chosen, onChoose, many }) =>
  html`<label class="field"><span>${label}</span>
    <select value=${chosen?.id} onChange=${(event) => onChoose(items.find(({ id }) => id === event.target.value))}>
      ${items.map((item) => html`<option value=${item.id} selected=${item.id === chosen?.id}>${item.name}${many ? ` (${item.namespace})` : ""}</option>`)}
    </select>
  </label>`;

// A name with an id in it: the form has the rest of the arguments.
const NameField = ({ item, name, onName }) =>
  item.placeholders.length > 0 &&
  html`<label class="field"><span>Name <span class="quiet">${item.name}</span></span>
    <input type="text" spellcheck=${false} value=${name} onInput=${(input) => onName(input.target.value)} />
  </label>`;

const Result = ({ result }) => {
  const element = useRef(null);
  useEffect(() => void element.current?.scrollIntoView({ block: "nearest" }), [result]);
  if (!result) return null;
  return html`<div class=${`result ${result.good ? "good" : "bad"}`} role="status" ref=${element}>
    <p class="result-title">${result.title}</p>
    ${result.notes?.map((note) => html`<p>${note}</p>`)}
    ${result.text && html`<${CodeBlock} title="Answer" of="the console" text=${result.text} />`}
  </div>`;
};

export const SendTab = ({ model, session, state, item, onItem, onNamespace }) => {
  const commands = useMemo(() => model.namespaces.flatMap((namespace) => namespace.commands), [model]);
  const chosen = item ?? commands.find(({ namespace }) => namespace === state.namespace) ?? commands[0];
  const command = useMemo(() => chosen && inVersion(chosen, model.versions, state.version), [chosen, state.version]);
  const [name, setName] = useState("");
  const [value, setValue] = useState({});
  const [invalid, setInvalid] = useState(false);
  const [result, setResult] = useState(null);
  useEffect(() => {
    setName(command?.example_name);
    if (command) setValue(toFormValue(command, command.example_arguments));
    setInvalid(false);
    setResult(null);
  }, [command]);
  if (!command) return html`<p class="empty">This contract has no commands.</p>`;

  const elsewhere = state.phase !== "off" && state.namespace !== command.namespace;
  const ready = state.phase === "connected" && !elsewhere;
  const send = async (event) => {
    event.preventDefault();
    setResult(null);
    try {
      const succeeded = (answer) => hasSucceeded(command.acknowledgement.form, answer);
      const args = await session.send(name, toArguments(command, value), succeeded);
      const good = succeeded(args);
      const refusals = good ? [] : findRefusals(model.refusals, args);
      const title = good ? "Acknowledged" : ["Refused", ...refusals.map((refusal) => refusal.client_code)].join(": ");
      setResult({ good, title, notes: good ? [] : explain(command.acknowledgement.form, refusals, args), text: args.map((each) => write(each, 2)).join("\n") });
    } catch (error) {
      setResult({ good: false, title: error.message });
    }
  };
  return html`<form class="panel-form" onSubmit=${send} autocomplete="off">
    <${Picker} label="Command" items=${commands} chosen=${command} onChoose=${onItem} many=${model.many} />
    <${NameField} item=${command} name=${name} onName=${setName} />
    <${ValueEditor} key=${command.id + command.name} schema=${command.schema} defs=${model.$defs} value=${value} onChange=${setValue} onInvalid=${setInvalid} label="Arguments" />
    ${!ready &&
    html`<p class="hint">
      ${elsewhere ? `This command belongs to ${command.namespace}. ` : "Connect first. "}
      <button type="button" class="link" onClick=${() => onNamespace(command.namespace)}>Go to Connect</button>
    </p>`}
    <${Result} result=${result} />
    <p class="actions"><button type="submit" class="primary" disabled=${!ready || invalid}>Send</button></p>
  </form>`;
};

export const PublishTab = ({ model, options, log, item, onItem }) => {
  const events = useMemo(() => model.namespaces.flatMap((namespace) => namespace.events).filter(canPublish), [model]);
  const event = item ?? events[0];
  const [key, setKey] = useState("");
  const [pasted, setPasted] = useState("");
  const [name, setName] = useState("");
  const [to, setTo] = useState("");
  const [named, setNamed] = useState("");
  const [value, setValue] = useState({});
  const [invalid, setInvalid] = useState(false);
  const [result, setResult] = useState(null);
  useEffect(() => {
    if (event) {
      setName(event.example_name);
      setValue(fromData(event, event.example));
      setTo(exampleRoom(event) ?? "");
      setNamed("");
    }
    setInvalid(false);
    setResult(null);
  }, [event?.id]);
  if (!options.publishes) return html`<p class="empty">Publishing works only on the page that the server itself serves.</p>`;
  if (!event) return html`<p class="empty">This contract has no events that a back end can publish.</p>`;

  const make = async () => {
    try {
      setKey(await askForToken(model.place.base, { service: true }));
      setResult(null);
    } catch (error) {
      setResult({ good: false, title: error.message });
    }
  };
  const publish = async (submitted) => {
    submitted.preventDefault();
    setResult(null);
    const rooms = to.split(",").map((room) => room.trim()).filter(Boolean);
    const data = toData(event, value);
    const request = { event: name, ...(named.trim() && { namespace: named.trim() }), ...(rooms.length ? { to: rooms.length > 1 ? rooms : rooms[0] } : {}), ...(data === undefined ? {} : { data }) };
    const used = key || pasted.trim();
    if (!key) {
      setKey(used);
      setPasted("");
    }
    setResult(await post(model.place.events, used, request, log));
  };
  const ready = (key || pasted.trim()) !== "" && !invalid;
  return html`<form class="panel-form" onSubmit=${publish} autocomplete="off">
    ${key
      ? html`<p class="secret"><span>A service key is in the memory of this page.</span>
          <${CopyButton} text=${() => key} label="Copy the service key" shown="Copy the key" />
          <button type="button" class="link" onClick=${() => setKey("")}>Forget it</button></p>`
      : html`<label class="field"><span>Service key</span>
            <input type="password" name="key" autocomplete="off" spellcheck=${false} value=${pasted} onInput=${(input) => setPasted(input.target.value)} />
          </label>
          ${options.makesTokens
            ? html`<p><button type="button" class="link" onClick=${make}>Make one for an hour</button></p>`
            : html`<p class="hint">In a terminal: <code>oyez token ${model.name} --service</code></p>`}`}
    <${Picker} label="Event" items=${events} chosen=${event} onChoose=${onItem} many=${model.many} />
    <${NameField} item=${event} name=${name} onName=${setName} />
    <label class="field"><span>To <span class="quiet">rooms, separated by commas; empty: as the data says</span></span>
      <input type="text" spellcheck=${false} value=${to} onInput=${(input) => setTo(input.target.value)} />
    </label>
    ${event.namespace.includes("{") &&
    html`<label class="field"><span>Namespace <span class="quiet">of the form ${event.namespace}; empty: as the data says</span></span>
      <input type="text" name="namespace" spellcheck=${false} value=${named} onInput=${(input) => setNamed(input.target.value)} />
    </label>`}
    <${ValueEditor} key=${event.id} schema=${event.payload} defs=${model.$defs} value=${value} onChange=${setValue} onInvalid=${setInvalid} label="Data" />
    <${Result} result=${result} />
    <p class="actions"><button type="submit" class="primary" disabled=${!ready}>Publish</button></p>
  </form>`;
};

const post = async (address, key, request, log) => {
  try {
    const answer = await fetch(address, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    const body = await answer.json();
    if (!answer.ok) return { good: false, title: explainProblem(body, answer.status) };
    log.add({ kind: "published", name: request.event, args: [request] });
    return { good: true, title: "Published", text: write(body, 2) };
  } catch (error) {
    return { good: false, title: `The server cannot be reached: ${error.message}` };
  }
};
