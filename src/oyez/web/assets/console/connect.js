// The part of the console that connects: a namespace, a user, and a token that is made or pasted.
import { html, useState } from "../html.js";
import { CopyButton } from "../code.js";
import { commandForToken } from "../samples.js";
import { askForToken, placeToken, readToken } from "./tokens.js";

const SUBJECTS = new Set(["sub", "userId"]);

const findClaims = (rule) => {
  if (!rule) return [];
  const inner = (rule.rules ?? []).flatMap(findClaims);
  return rule.kind === "own" && !SUBJECTS.has(rule.claim) ? [rule.claim, ...inner] : inner;
};

// The claims besides id and role on which rights in this contract depend.
const listClaims = (model) => {
  const rules = model.namespaces.flatMap((namespace) => [...namespace.rooms.map((room) => room.members), ...namespace.commands.map((command) => command.who)]);
  return [...new Set([...Object.values(model.subjects), ...rules.flatMap(findClaims)])];
};

export const ConnectTab = ({ model, options, session, state, namespace, onNamespace }) => {
  const [way, setWay] = useState(options.makesTokens ? "make" : "paste");
  const [user, setUser] = useState({ sub: "", role: model.default_role ?? model.roles.find((role) => role !== model.guests) ?? "", claims: {} });
  const [pasted, setPasted] = useState("");
  const [gateways, setGateways] = useState(null);
  // In memory only: the button copies it, and the document never has it.
  const [made, setMade] = useState(null);
  const [fault, setFault] = useState("");
  const [version, setVersion] = useState(model.versions?.names.at(-1));
  const [busy, setBusy] = useState(false);
  // By placeholder, the ids in the name of the namespace.
  const [ids, setIds] = useState({});
  const placeholders = [...namespace.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const found = model.namespaces.find(({ name }) => name === namespace);
  const claims = listClaims(model);

  const getToken = async () => {
    if (way === "guest") return "";
    if (way === "paste") return pasted.trim();
    const given = Object.fromEntries(Object.entries(user.claims).filter(([, value]) => value !== ""));
    const sub = user.sub.trim();
    const token = await askForToken(model.place.base, { sub, role: user.role || null, claims: given });
    setMade({ sub, token });
    return token;
  };
  const connect = async (event) => {
    event.preventDefault();
    setFault("");
    setBusy(true);
    try {
      const token = await getToken();
      const placed = placeToken(model.tokens, token);
      const auth = { ...placed.auth, ...(gateways && { gateways }), ...(version && { [model.versions.name]: version }) };
      const named = namespace.replace(/\{(\w+)\}/g, (_, name) => ids[name].trim());
      await session.connect(namespace, { ...placed, auth }, token ? readToken(token) : null, named, version);
      // From here on only the client has a token that was pasted.
      setPasted("");
    } catch (error) {
      setFault(error.message);
    } finally {
      setBusy(false);
    }
  };
  const choice = (value, text) =>
    html`<label class="choice"><input type="radio" name="way" value=${value} checked=${way === value} onChange=${() => setWay(value)} /> ${text}</label>`;
  const known = way === "guest" || (way === "paste" ? pasted.trim() !== "" : user.sub.trim() !== "");
  const ready = known && placeholders.every((name) => (ids[name] ?? "").trim() !== "");

  return html`<form class="panel-form" onSubmit=${connect} autocomplete="off">
    ${model.many &&
    html`<label class="field"><span>Namespace</span>
      <select value=${namespace} onChange=${(event) => onNamespace(event.target.value)}>
        ${model.namespaces.map(({ name }) => html`<option value=${name} selected=${name === namespace}>${name}</option>`)}
      </select>
    </label>`}
    ${model.versions &&
    html`<label class="field"><span>Version of the client</span>
      <select name="version" value=${version} onChange=${(event) => setVersion(event.target.value)}>
        ${[...model.versions.names].reverse().map((name) => html`<option value=${name} selected=${name === version}>${name}</option>`)}
      </select>
    </label>`}
    ${placeholders.map(
      (name) => html`<label class="field"><span>${name} <span class="quiet">in the name of the namespace</span></span>
        <input type="text" name=${name} spellcheck=${false} value=${ids[name] ?? ""} onInput=${(event) => setIds({ ...ids, [name]: event.target.value })} />
      </label>`,
    )}
    <fieldset class="choices">
      <legend>User</legend>
      ${options.makesTokens && choice("make", "Make a token")} ${choice("paste", "Paste a token")} ${model.guests && choice("guest", "Guest, without a token")}
    </fieldset>
    ${way === "make" &&
    html`<div class="pair">
        <label class="field"><span>User id</span><input type="text" name="sub" spellcheck=${false} value=${user.sub} onInput=${(event) => setUser({ ...user, sub: event.target.value })} /></label>
        <label class="field"><span>Role</span>
          <select value=${user.role} onChange=${(event) => setUser({ ...user, role: event.target.value })}>
            ${model.roles.map((role) => html`<option value=${role} selected=${role === user.role}>${role}</option>`)}
          </select>
        </label>
      </div>
      ${claims.map(
        (claim) => html`<label class="field"><span>Claim <code>${claim}</code> <span class="quiet">optional</span></span>
          <input type="text" spellcheck=${false} value=${user.claims[claim] ?? ""} onInput=${(event) => setUser({ ...user, claims: { ...user.claims, [claim]: event.target.value } })} />
        </label>`,
      )}
      <p class="hint">This server is in development mode, so it signs a token for an hour.</p>
      ${made &&
      html`<p class="secret">
        <span>The token of ${made.sub} is in the memory of this page.</span>
        <${CopyButton} text=${() => made.token} label="Copy the token" shown="Copy the token" />
        <button type="button" class="link" onClick=${() => setMade(null)}>Forget it</button>
      </p>`}`}
    ${way === "paste" &&
    html`<label class="field"><span>Token</span>
        <input type="password" name="token" autocomplete="off" spellcheck=${false} value=${pasted} onInput=${(event) => setPasted(event.target.value)} />
      </label>
      <p class="hint">It stays in the memory of this page. In a terminal: <code>${commandForToken(model)}</code></p>`}
    ${found.gateways.length > 0 &&
    html`<fieldset class="choices">
      <legend>Gateways</legend>
      <label class="choice"><input type="checkbox" checked=${gateways === null} onChange=${() => setGateways(gateways === null ? found.gateways.map(({ name }) => name) : null)} /> all that the role permits</label>
      ${gateways &&
      found.gateways.map(
        ({ name }) => html`<label class="choice">
          <input type="checkbox" checked=${gateways.includes(name)} onChange=${() => setGateways(gateways.includes(name) ? gateways.filter((other) => other !== name) : [...gateways, name])} /> ${name}
        </label>`,
      )}
    </fieldset>`}
    ${fault && html`<p class="fault" role="alert">${fault}</p>`}
    <p class="actions"><button type="submit" class="primary" disabled=${!ready || busy}>${state.phase === "off" ? "Connect" : "Connect again"}</button></p>
  </form>`;
};
