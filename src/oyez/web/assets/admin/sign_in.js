// The form in which an operator gives a key.
import { html, useEffect, useRef, useState } from "../html.js";
import { ThemeSwitch } from "../theme_switch.js";
import { Fault } from "./parts.js";

export const SignIn = ({ session, note }) => {
  const [key, setKey] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  const signIn = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await session.signIn(key.trim());
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
      // From here on only the token is kept.
      setKey("");
    }
  };
  return html`<div class="sign-in-bar"><${ThemeSwitch} /></div>
    <main class="sign-in" id="content">
      <p class="brand"><span class="brand-mark" aria-hidden="true"></span>Oyez admin</p>
      <h1>Sign in</h1>
      ${note && !error && html`<div class="notice warn" role="status"><p>${note}</p></div>`}
      <${Fault} error=${error} />
      <form class="panel-form" onSubmit=${signIn} autocomplete="off">
        <label class="field"><span>Operator's key</span>
          <input type="password" name="key" ref=${field} autocomplete="off" maxlength="200" required spellcheck=${false} placeholder="oyo_…" value=${key} onInput=${(event) => setKey(event.target.value)} />
        </label>
        <p class="actions"><button type="submit" class="primary" disabled=${busy || !key.trim()}>${busy ? "Signing in …" : "Sign in"}</button></p>
      </form>
      <p class="hint">The key is sent once, and not kept. The session lasts 12 hours at most, in this tab only. In a terminal, <code>oyez keys operator NAME</code> makes a key.</p>
    </main>`;
};
